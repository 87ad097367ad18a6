/* Adds the products of k values with each of two filters, the second right behind the first. */
static void model_dot(const int8_t *x, const int8_t *w0, int32_t k, int32_t *sum0, int32_t *sum1)
{
    const int8_t *w1 = w0 + k;
    int32_t s0 = *sum0;
    int32_t s1 = *sum1;
    for (int32_t i = 0; i < k; ++i) {
        const int32_t a = x[i];
        s0 += a * w0[i];
        s1 += a * w1[i];
    }
    *sum0 = s0;
    *sum1 = s1;
}
