/* One pixel of a depthwise convolution: taps[t] is the pixel under tap t, k taps, n channels. Two
   taps of four channels at a time: their bytes are laced so that a pair of taps is one operand. */
static void model_depthwise(const int8_t *const *taps, const model_layer *shared, int8_t *y)
{
    const model_layer layer = *shared;
    const int32_t n = layer.n;
    const int32_t k = layer.k;
    int32_t c = 0;
    for (; c + 4 <= n; c += 4) {
        const int8_t *w = layer.weights + c;
        const int8_t *const *tap = taps;
        int32_t s0 = layer.channels[c].bias;
        int32_t s1 = layer.channels[c + 1].bias;
        int32_t s2 = layer.channels[c + 2].bias;
        int32_t s3 = layer.channels[c + 3].bias;
        for (int32_t t = k; t > 1; t -= 2) {
            const uint32_t a = model_load(tap[0] + c);
            const uint32_t b = model_load(tap[1] + c);
            const uint32_t v = model_load(w);
            const uint32_t u = model_load(w + n);
            const uint32_t xl = model_low_halves(a, b);
            const uint32_t xh = model_high_halves(a, b);
            const uint32_t wl = model_low_halves(v, u);
            const uint32_t wh = model_high_halves(v, u);
            s0 = model_mac2(model_even(xl), model_even(wl), s0);
            s1 = model_mac2(model_odd(xl), model_odd(wl), s1);
            s2 = model_mac2(model_even(xh), model_even(wh), s2);
            s3 = model_mac2(model_odd(xh), model_odd(wh), s3);
            w += 2 * n;
            tap += 2;
        }
        if ((k & 1) != 0) {
            const int8_t *x = tap[0] + c;
            s0 += x[0] * w[0];
            s1 += x[1] * w[1];
            s2 += x[2] * w[2];
            s3 += x[3] * w[3];
        }
        y[c] = model_finish(s0, &layer, c);
        y[c + 1] = model_finish(s1, &layer, c + 1);
        y[c + 2] = model_finish(s2, &layer, c + 2);
        y[c + 3] = model_finish(s3, &layer, c + 3);
    }
    for (; c < n; ++c) {
        const int8_t *w = layer.weights + c;
        int32_t s = layer.channels[c].bias;
        for (int32_t t = 0; t < k; ++t) {
            s += taps[t][c] * w[0];
            w += n;
        }
        y[c] = model_finish(s, &layer, c);
    }
}
