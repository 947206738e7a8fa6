/* The forward pass alone, without Python: native_pass WEIGHTS CROPS VECTORS, of ViT-Tiny. */
#include "vit_pass.c"

#include <stdio.h>

int main(int count, char **arguments)
{
    const Config config = {192, 768, 12, 3, 1e-6f, 0};
    static uint8_t crop[CROP * CROP * CHANNELS];
    float *weights, *room, vector[192];
    if (count != 4 || !runs()) return 2;
    printf("the pass with %d lanes, which says that it agrees: %d\n", LANES, agrees());
    if (posix_memalign((void **)&weights, ALIGNMENT, weights_of(&config) * sizeof(float)) ||
        posix_memalign((void **)&room, ALIGNMENT, room_of(&config) * sizeof(float)))
        return 2;
    FILE *given = fopen(arguments[1], "rb"), *crops = fopen(arguments[2], "rb");
    FILE *out = fopen(arguments[3], "wb");
    if (!given || !crops || !out) return 2;
    if (fread(weights, sizeof(float), weights_of(&config), given) != weights_of(&config)) return 2;
    while (fread(crop, 1, sizeof crop, crops) == sizeof crop) {
        pass(&config, weights, crop, room, vector);
        fwrite(vector, sizeof(float), 192, out);
    }
    return fclose(out) ? 2 : 0;
}
