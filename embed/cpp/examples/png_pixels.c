/* PNG in memory through libpng. Every variable that outlives a long jump lies in a structure behind a pointer. */
#include "png_pixels.h"

#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

struct source {
    const uint8_t* file;
    size_t size, place;
};

struct sink {
    int (*write)(void*, const uint8_t*, size_t);
    void* user;
};

static void fail(png_structp png, png_const_charp reason) {
    struct png_pixels* header = png_get_error_ptr(png);
    strncpy(header->reason, reason, sizeof header->reason - 1);
    png_longjmp(png, 1);
}

static void ignore(png_structp png, png_const_charp reason) {
    (void)png;
    (void)reason;
}

static void give(png_structp png, png_bytep to, png_size_t size) {
    struct source* source = png_get_io_ptr(png);
    if (size > source->size - source->place) {
        png_error(png, "the file ends too early");
    }
    memcpy(to, source->file + source->place, size);
    source->place += size;
}

static void take(png_structp png, png_bytep from, png_size_t size) {
    struct sink* sink = png_get_io_ptr(png);
    if (!sink->write(sink->user, from, size)) {
        png_error(png, "no memory for the file");
    }
}

static void flush(png_structp png) { (void)png; }

static int little_endian(void) {
    const uint16_t one = 1;
    return *(const uint8_t*)&one == 1;
}

/* Everything up to the first row: palettes become colours, 1 to 4 bits become 8, a transparent colour becomes alpha. */
static void begin(png_structp png, png_infop info, struct png_pixels* header, uint32_t max_side) {
    png_set_user_limits(png, max_side, max_side);
    png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_read_info(png, info);
    png_set_expand(png);
    if (little_endian()) {
        png_set_swap(png);
    }
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    header->height = png_get_image_height(png, info);
    header->width = png_get_image_width(png, info);
    header->channels = png_get_channels(png, info);
    header->sample_bytes = png_get_bit_depth(png, info) / 8;
}

static int read_up_to(struct png_pixels* header, struct source* source, uint32_t max_side, uint8_t* samples,
                      png_bytepp rows) {
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, header, fail, ignore);
    png_infop info = png != NULL ? png_create_info_struct(png) : NULL;
    if (info != NULL && !setjmp(png_jmpbuf(png))) {
        png_set_read_fn(png, source, give);
        begin(png, info, header, max_side);
        if (rows != NULL) {
            const size_t stride = png_get_rowbytes(png, info);
            for (uint32_t row = 0; row < header->height; ++row) {
                rows[row] = samples + row * stride;
            }
            png_read_image(png, rows);
            png_read_end(png, NULL);
        }
        png_destroy_read_struct(&png, &info, NULL);
        return 1;
    }
    png_destroy_read_struct(&png, &info, NULL);
    return 0;
}

int png_pixels_header(struct png_pixels* header, const uint8_t* file, size_t size, uint32_t max_side) {
    struct source source = {file, size, 0};
    memset(header, 0, sizeof *header);
    return read_up_to(header, &source, max_side, NULL, NULL);
}

int png_pixels_read(struct png_pixels* header, const uint8_t* file, size_t size, uint32_t max_side, uint8_t* samples) {
    struct source source = {file, size, 0};
    png_bytepp rows = malloc(header->height * sizeof *rows);
    int whole = rows != NULL && read_up_to(header, &source, max_side, samples, rows);
    free(rows);
    return whole;
}

int png_pixels_write(struct png_pixels* header, const uint8_t* samples, int (*write)(void*, const uint8_t*, size_t),
                     void* user) {
    struct sink sink = {write, user};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, header, fail, ignore);
    png_infop info = png != NULL ? png_create_info_struct(png) : NULL;
    if (info != NULL && !setjmp(png_jmpbuf(png))) {
        const size_t stride = (size_t)header->width * (size_t)(header->channels * header->sample_bytes);
        png_set_write_fn(png, &sink, take, flush);
        png_set_IHDR(png, info, header->width, header->height, 8 * header->sample_bytes,
                     header->channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
                     PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
        png_set_compression_level(png, 3);
        png_write_info(png, info);
        if (header->sample_bytes == 2 && little_endian()) {
            png_set_swap(png);
        }
        for (uint32_t row = 0; row < header->height; ++row) {
            png_write_row(png, samples + row * stride);
        }
        png_write_end(png, info);
        png_destroy_write_struct(&png, &info);
        return 1;
    }
    png_destroy_write_struct(&png, &info);
    return 0;
}
