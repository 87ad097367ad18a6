/* The sum of channel c as an output value. */
static inline int8_t model_finish(int32_t sum, const model_layer *layer, int32_t c)
{
    const int32_t scaled = model_scale(sum, layer->channels[c].multiplier, layer->shifts[c]);
    return model_narrow(scaled + layer->zero, layer->low, layer->high);
}
