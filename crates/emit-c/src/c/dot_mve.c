/* Adds the products of k values with each of two filters, the second right behind the first. */
static void model_dot(const int8_t *x, const int8_t *w0, int32_t k, int32_t *sum0, int32_t *sum1)
{
    const int8_t *w1 = w0 + k;
    int32_t s0 = *sum0;
    int32_t s1 = *sum1;
    for (int32_t i = 0; i < k; i += 16) {
        const mve_pred16_t some = vctp8q((uint32_t)(k - i));
        const int8x16_t a = vldrbq_z_s8(x + i, some);
        s0 = vmladavaq_s8(s0, a, vldrbq_z_s8(w0 + i, some));
        s1 = vmladavaq_s8(s1, a, vldrbq_z_s8(w1 + i, some));
    }
    *sum0 = s0;
    *sum1 = s1;
}
