/* One pixel of a depthwise convolution: taps[t] is the pixel under tap t, k taps, n channels. Four
   channels a vector, scaled together: vqrdmulh is the product rounded, vrshl rounds halves up, so that
   negative numbers are lowered by one before it. */
static void model_depthwise(const int8_t *const *taps, const model_layer *shared, int8_t *y)
{
    const model_layer layer = *shared;
    const int32_t n = layer.n;
    const int32x4_t low = vdupq_n_s32(layer.low);
    const int32x4_t high = vdupq_n_s32(layer.high);
    int32_t c = 0;
    for (; c + 4 <= n; c += 4) {
        const int32x4x2_t channels = vld2q_s32((const int32_t *)(const void *)(layer.channels + c));
        const int8_t *w = layer.weights + c;
        int32x4_t sums = channels.val[0];
        for (int32_t t = 0; t < layer.k; ++t) {
            sums = vaddq_s32(sums, vmulq_s32(vldrbq_s32(taps[t] + c), vldrbq_s32(w)));
            w += n;
        }
        sums = vqrdmulhq_s32(sums, channels.val[1]);
        sums = vaddq_s32(sums, vshrq_n_s32(sums, 31));
        sums = vrshlq_s32(sums, vldrbq_s32(layer.shifts + c));
        sums = vaddq_n_s32(sums, layer.zero);
        vstrbq_s32(y + c, vminq_s32(vmaxq_s32(sums, low), high));
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
