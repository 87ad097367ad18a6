/* A row of k values through all filters; sums are rounded once. */
static void model_linear(const int8_t *x, const model_layer *shared, int8_t *y)
{
    const model_layer layer = *shared;
    const int32_t k = layer.k;
    const int8_t *w = layer.weights;
    for (int32_t c = 0; c < layer.n; c += 2) {
        const int32_t both = (c + 1 < layer.n) ? 1 : 0;
        int32_t sums[2];
        sums[0] = layer.channels[c].bias;
        sums[1] = layer.channels[c + both].bias;
        if (both != 0) {
            model_dot(x, w, k, &sums[0], &sums[1]);
        } else {
            for (int32_t i = 0; i < k; ++i) {
                sums[0] += x[i] * w[i];
            }
        }
        for (int32_t i = 0; i <= both; ++i) {
            const int32_t scaled = model_scale_once(sums[i], layer.channels[c + i].multiplier, layer.shifts[c + i]);
            y[c + i] = model_narrow(scaled + layer.zero, layer.low, layer.high);
        }
        w += 2 * k;
    }
}
