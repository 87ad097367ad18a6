/* Two pixels of k values through all filters: two filters at a time, sixteen products an
   instruction. */
static void model_dense_pair(const int8_t *x0, const int8_t *x1, const model_layer *shared, int8_t *scratch, int8_t *y0,
                             int8_t *y1)
{
    const model_layer layer = *shared;
    const int32_t k = layer.k;
    const int8_t *w0 = layer.weights;
    int32_t c = 0;
    (void)scratch;
    for (; c + 1 < layer.n; c += 2) {
        const int8_t *w1 = w0 + k;
        int32_t s00 = layer.channels[c].bias;
        int32_t s01 = layer.channels[c + 1].bias;
        int32_t s10 = s00;
        int32_t s11 = s01;
        for (int32_t i = 0; i < k; i += 16) {
            const mve_pred16_t some = vctp8q((uint32_t)(k - i));
            const int8x16_t a = vldrbq_z_s8(x0 + i, some);
            const int8x16_t b = vldrbq_z_s8(x1 + i, some);
            const int8x16_t v = vldrbq_z_s8(w0 + i, some);
            const int8x16_t w = vldrbq_z_s8(w1 + i, some);
            s00 = vmladavaq_s8(s00, a, v);
            s10 = vmladavaq_s8(s10, b, v);
            s01 = vmladavaq_s8(s01, a, w);
            s11 = vmladavaq_s8(s11, b, w);
        }
        y1[c] = model_finish(s10, &layer, c);
        y0[c] = model_finish(s00, &layer, c);
        y1[c + 1] = model_finish(s11, &layer, c + 1);
        y0[c + 1] = model_finish(s01, &layer, c + 1);
        w0 = w1 + k;
    }
    if (c < layer.n) {
        int32_t s0 = layer.channels[c].bias;
        int32_t s1 = s0;
        for (int32_t i = 0; i < k; i += 16) {
            const mve_pred16_t some = vctp8q((uint32_t)(k - i));
            const int8x16_t v = vldrbq_z_s8(w0 + i, some);
            s0 = vmladavaq_s8(s0, vldrbq_z_s8(x0 + i, some), v);
            s1 = vmladavaq_s8(s1, vldrbq_z_s8(x1 + i, some), v);
        }
        y1[c] = model_finish(s1, &layer, c);
        y0[c] = model_finish(s0, &layer, c);
    }
}
