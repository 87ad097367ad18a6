/* What a sum starts with, the input's zero point folded in, and its scale as a 31-bit multiplier. */
typedef struct {
    int32_t bias;
    int32_t multiplier;
} model_channel;

/* A layer with weights: n output channels, each the sum of k products. */
typedef struct {
    const int8_t *weights;
    const model_channel *channels;
    const int8_t *shifts;
    int32_t k;
    int32_t n;
    int32_t zero;
    int32_t low;
    int32_t high;
} model_layer;
