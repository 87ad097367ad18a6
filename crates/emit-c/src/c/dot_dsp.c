/* Adds the products of k values with each of two filters, the second right behind the first. */
static void model_dot(const int8_t *x, const int8_t *w0, int32_t k, int32_t *sum0, int32_t *sum1)
{
    const int8_t *w1 = w0 + k;
    int32_t s0 = *sum0;
    int32_t s1 = *sum1;
    int32_t i = 0;
    for (; i + 4 <= k; i += 4) {
        const uint32_t a = model_load(x + i);
        const uint32_t p = model_load(w0 + i);
        const uint32_t q = model_load(w1 + i);
        const uint32_t a0 = model_even(a);
        const uint32_t a1 = model_odd(a);
        s0 = model_mac2(model_even(p), a0, s0);
        s1 = model_mac2(model_even(q), a0, s1);
        s0 = model_mac2(model_odd(p), a1, s0);
        s1 = model_mac2(model_odd(q), a1, s1);
    }
    for (; i < k; ++i) {
        s0 += x[i] * w0[i];
        s1 += x[i] * w1[i];
    }
    *sum0 = s0;
    *sum1 = s1;
}
