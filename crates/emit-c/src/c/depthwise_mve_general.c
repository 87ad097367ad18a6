/* One pixel of a depthwise convolution: taps[t] is the pixel under tap t, k taps, n channels. Four
   channels a vector. */
static void model_depthwise(const int8_t *const *taps, const model_layer *shared, int8_t *y)
{
    const model_layer layer = *shared;
    const int32_t n = layer.n;
    for (int32_t c = 0; c < n; c += 4) {
        const mve_pred16_t some = vctp32q((uint32_t)(n - c));
        const int8_t *w = layer.weights + c;
        int32x4_t sums = vdupq_n_s32(0);
        int32_t lanes[4];
        for (int32_t t = 0; t < layer.k; ++t) {
            const int32x4_t x = vldrbq_z_s32(taps[t] + c, some);
            sums = vaddq_s32(sums, vmulq_s32(x, vldrbq_z_s32(w, some)));
            w += n;
        }
        vst1q_s32(lanes, sums);
        for (int32_t i = 0; (i < 4) && (c + i < n); ++i) {
            y[c + i] = model_finish(layer.channels[c + i].bias + lanes[i], &layer, c + i);
        }
    }
}
