/* The reciprocal of 1 + a, both fractions of 2^31: three Newton-Raphson steps from a linear first
   guess, 48/17 - 32/17 d, for half the denominator d. */
static int32_t model_reciprocal(int32_t a)
{
    const int32_t half = (int32_t)(((int64_t)a + INT32_MAX + 1) / 2);
    int32_t x = 1515870810 + model_high_product(half, -1010580540);
    for (int32_t i = 0; i < 3; ++i) {
        const int32_t rest = ((int32_t)1 << 29) - model_high_product(half, x);
        x += model_times_four(model_high_product(x, rest));
    }
    return model_times_two(x);
}

/* Soft-max of rows of n values: exps[d] is the exponential of d steps below the maximum, a fraction
   of 2^31; from count steps on nothing is left. With a headroom under 4 bits hundreds of values share
   the maximum, and the share of each is under half a step. */
static void model_softmax(const int8_t *x, int32_t rows, int32_t n, const int32_t *exps, int32_t count, int8_t *y)
{
    for (int32_t row = 0; row < rows; ++row) {
        int32_t max = x[0];
        int32_t sum = 0;
        int32_t headroom = 0;
        int32_t scale;
        for (int32_t i = 1; i < n; ++i) {
            max = (x[i] > max) ? x[i] : max;
        }
        for (int32_t i = 0; i < n; ++i) {
            const int32_t below = max - x[i];
            if (below < count) {
                sum += model_round_shift(exps[below], 12);
            }
        }
        while (((uint32_t)sum << headroom) < 0x80000000u) {
            ++headroom;
        }
        scale = model_reciprocal((int32_t)(((uint32_t)sum << headroom) - 0x80000000u));
        for (int32_t i = 0; i < n; ++i) {
            const int32_t below = max - x[i];
            int32_t value = -128;
            if ((below < count) && (headroom > 3)) {
                value += model_round_shift(model_high_product(scale, exps[below]), 35 - headroom);
            }
            y[i] = model_narrow(value, -128, 127);
        }
        x += n;
        y += n;
    }
}
