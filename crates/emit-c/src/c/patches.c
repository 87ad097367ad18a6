/* Where the second of two patches begins, after the first of that many bytes. */
#define MODEL_SECOND(bytes) (bytes)

/* Two gathered patches through all filters. */
static void model_dense_patches(int8_t *patches, int32_t second, const model_layer *layer, int8_t *y0, int8_t *y1)
{
    model_dense_pair(patches, patches + second, layer, patches, y0, y1);
}
