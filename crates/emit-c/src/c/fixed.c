/* a * b / 2^31, halves up; a and b are not both the smallest number. */
static int32_t model_high_product(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
}

/* x / 2^right, halves away from zero. */
static int32_t model_round_shift(int32_t x, int32_t right)
{
    const int32_t mask = (int32_t)((1u << (uint32_t)right) - 1u);
    const int32_t threshold = (mask >> 1) + ((x < 0) ? 1 : 0);
    return (x >> right) + (((x & mask) > threshold) ? 1 : 0);
}

/* 4 x, saturating. */
static int32_t model_times_four(int32_t x)
{
    if (x > INT32_MAX / 4) {
        return INT32_MAX;
    }
    return (x < INT32_MIN / 4) ? INT32_MIN : x * 4;
}

/* 2 x, saturating. */
static int32_t model_times_two(int32_t x)
{
    if (x > INT32_MAX / 2) {
        return INT32_MAX;
    }
    return (x < INT32_MIN / 2) ? INT32_MIN : x * 2;
}
