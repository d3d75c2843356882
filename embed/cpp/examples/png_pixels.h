/* PNG in memory through libpng, whose errors are long jumps: in C, where those are at home. */
#ifndef PNG_PIXELS_H
#define PNG_PIXELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A PNG that is being read or written. `reason` says why a call failed. */
struct png_pixels {
    uint32_t height, width;
    int channels, sample_bytes; /* 1 or 3 (2 and 4 with alpha); 1, or 2 in the machine's byte order */
    char reason[128];
};

/* Fills `header` from the PNG in `file`. 0: it could not. */
int png_pixels_header(struct png_pixels* header, const uint8_t* file, size_t size, uint32_t max_side);

/* Writes the rows of the PNG, which `png_pixels_header` has seen, to `samples`. 0: it could not. */
int png_pixels_read(struct png_pixels* header, const uint8_t* file, size_t size, uint32_t max_side, uint8_t* samples);

/* Hands a PNG of these rows to `write`, piece by piece; `write` answers 0 where it could not. 0: it could not. */
int png_pixels_write(struct png_pixels* header, const uint8_t* samples, int (*write)(void*, const uint8_t*, size_t),
                     void* user);

#ifdef __cplusplus
}
#endif

#endif
