/* One pixel of k values through all filters. */
static void model_dense_one(const int8_t *x, const model_layer *shared, int8_t *y)
{
    const model_layer layer = *shared;
    const int32_t k = layer.k;
    const int8_t *w = layer.weights;
    int32_t c = 0;
    for (; c + 1 < layer.n; c += 2) {
        int32_t s0 = layer.channels[c].bias;
        int32_t s1 = layer.channels[c + 1].bias;
        model_dot(x, w, k, &s0, &s1);
        y[c] = model_finish(s0, &layer, c);
        y[c + 1] = model_finish(s1, &layer, c + 1);
        w += 2 * k;
    }
    if (c < layer.n) {
        int32_t s = layer.channels[c].bias;
        for (int32_t i = 0; i < k; ++i) {
            s += x[i] * w[i];
        }
        y[c] = model_finish(s, &layer, c);
    }
}
