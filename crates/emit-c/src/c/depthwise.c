/* One pixel of a depthwise convolution: taps[t] is the pixel under tap t, k taps, n channels. */
static void model_depthwise(const int8_t *const *taps, const model_layer *shared, int8_t *y)
{
    const model_layer layer = *shared;
    const int32_t n = layer.n;
    int32_t c = 0;
    for (; c + 4 <= n; c += 4) {
        const int8_t *w = layer.weights + c;
        int32_t s0 = layer.channels[c].bias;
        int32_t s1 = layer.channels[c + 1].bias;
        int32_t s2 = layer.channels[c + 2].bias;
        int32_t s3 = layer.channels[c + 3].bias;
        for (int32_t t = 0; t < layer.k; ++t) {
            const int8_t *x = taps[t] + c;
            s0 += x[0] * w[0];
            s1 += x[1] * w[1];
            s2 += x[2] * w[2];
            s3 += x[3] * w[3];
            w += n;
        }
        y[c] = model_finish(s0, &layer, c);
        y[c + 1] = model_finish(s1, &layer, c + 1);
        y[c + 2] = model_finish(s2, &layer, c + 2);
        y[c + 3] = model_finish(s3, &layer, c + 3);
    }
    for (; c < n; ++c) {
        const int8_t *w = layer.weights + c;
        int32_t s = layer.channels[c].bias;
        for (int32_t t = 0; t < layer.k; ++t) {
            s += taps[t][c] * w[0];
            w += n;
        }
        y[c] = model_finish(s, &layer, c);
    }
}
