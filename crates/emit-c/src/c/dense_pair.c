/* Two pixels of k values through all filters: two filters at a time, so that each value loaded
   serves two products. */
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
        for (int32_t i = 0; i < k; ++i) {
            const int32_t a = x0[i];
            const int32_t b = x1[i];
            s00 += a * w0[i];
            s10 += b * w0[i];
            s01 += a * w1[i];
            s11 += b * w1[i];
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
        for (int32_t i = 0; i < k; ++i) {
            s0 += x0[i] * w0[i];
            s1 += x1[i] * w0[i];
        }
        y1[c] = model_finish(s1, &layer, c);
        y0[c] = model_finish(s0, &layer, c);
    }
}
