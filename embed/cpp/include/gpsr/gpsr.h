/* Pictures through a GPSR network, tile by tile: the C interface, for every language that can call C.
 *
 * One model is for one thread at a time; several models may run in several threads. Nothing is printed, no environment
 * variable is read, no global is set, and no exception leaves a function. Structures begin with their size, so that
 * they can grow: set all other fields to zero for what the model itself asks for. C99.
 */
#ifndef GPSR_GPSR_H
#define GPSR_GPSR_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && defined(GPSR_BUILDING)
#define GPSR_API __declspec(dllexport)
#elif defined(_WIN32)
#define GPSR_API __declspec(dllimport)
#else
#define GPSR_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* How a call ended. The numbers are the exit codes of gpsr-trt. */
typedef int32_t gpsr_status;
enum {
    GPSR_OK = 0,
    GPSR_BUG = 1,               /* one of ours */
    GPSR_USAGE = 2,             /* the request contradicts itself */
    GPSR_INPUT_UNREADABLE = 3,  /* the model's file is missing or cannot be read */
    GPSR_OUTPUT_UNWRITABLE = 4, /* of programs; no function here returns it */
    GPSR_MODEL_REFUSED = 5,     /* damaged, unsafe, not for this machine or this request; or it gave NaN */
    GPSR_OUT_OF_MEMORY = 6,     /* also with smaller tiles */
    GPSR_CANCELLED = 130        /* by the progress callback */
};

/* Of one sample of a picture. The value is its size in bytes. */
typedef int32_t gpsr_type;
enum {
    GPSR_U8 = 1,
    GPSR_U16 = 2, /* in the machine's byte order */
    GPSR_F32 = 4  /* in [0, 1] */
};

/* Of the channels of a picture. */
typedef int32_t gpsr_order;
enum {
    GPSR_RGB = 0,
    GPSR_BGR = 1 /* as OpenCV has them */
};

/* A model that is ready to run, or one that could not be opened and knows why. */
typedef struct gpsr_model gpsr_model;

/* How to open a model. Zeros: any scale, the device that the file is for, all cores, the fastest precision that was
 * measured to keep the model's quality. */
typedef struct gpsr_open_options {
    size_t struct_size;    /* sizeof(gpsr_open_options) */
    const char* device;    /* "auto", "cpu", "cuda" or "cuda:INDEX"; NULL: "auto" */
    int32_t scale;         /* refuse a model of another one; 0: take any */
    int32_t threads;       /* of the CPU; 0: all */
    const char* precision; /* "fp32", "fp16" or "int8" as the file has it, "bf16" for an fp32 model on a CPU; "auto", or
                              NULL: bf16 where CPU and quality allow it, else as the file has it */
} gpsr_open_options;

/* What a model does. Texts are the model's, and live as long as it does. */
typedef struct gpsr_spec {
    size_t struct_size;            /* sizeof(gpsr_spec) */
    const char* name;              /* of the network: gpsr-nano-x4 */
    const char* runtime;           /* openvino, tensorrt or tensorrt-rtx */
    const char* device;            /* cpu, cuda:0 */
    const char* dtype;             /* what the file holds the network in: fp32, fp16, int8 */
    const char* checkpoint_sha256; /* of the weights */
    int32_t scale;                 /* SR pixels per LR pixel and axis */
    int32_t halo;                  /* LR pixels of context per side of a tile */
    int32_t multiple_of;           /* sizes and places of tiles are multiples of this many LR pixels */
    int32_t tileable;              /* nonzero: pictures may be cut into tiles */
    int32_t has_profile; /* nonzero: an engine, which takes tiles from min to max, at best opt, batch at once */
    int32_t min_height, min_width, opt_height, opt_width, max_height, max_width, batch; /* LR pixels */
    const char* precision; /* what it computes in: fp32, fp16, bf16, int8 */
} gpsr_spec;

/* Interleaved pixels in the caller's memory. */
typedef struct gpsr_picture {
    size_t struct_size;    /* sizeof(gpsr_picture) */
    void* pixels;          /* the first sample of the first row */
    int64_t height, width; /* pixels */
    int64_t stride;        /* bytes from row to row, negative for rows from below; 0: no gap between rows */
    gpsr_type type;
    int32_t channels; /* 3, or 1 for grey */
    gpsr_order order; /* of 3 channels */
    int32_t reserved; /* 0 */
} gpsr_picture;

/* Told after every batch, and once before the first: tiles done, tiles in all. It begins anew with smaller tiles where
 * memory ran out. Anything but zero ends the call with GPSR_CANCELLED. Called in the thread that called; it must not
 * throw. */
typedef int32_t (*gpsr_progress)(void* user, int64_t done, int64_t total);

/* How to cut a picture. Zeros: as the network and the memory at hand suggest. */
typedef struct gpsr_run_options {
    size_t struct_size;              /* sizeof(gpsr_run_options) */
    int64_t tile_height, tile_width; /* LR pixels, halo included; rounded up to what the network needs; both or none */
    int64_t halo;                    /* LR pixels of context per side, rounded up; used if has_halo */
    int32_t has_halo;                /* nonzero: `halo` instead of what was measured for the model's weights */
    int32_t whole;                   /* nonzero: the picture in one piece */
    int64_t batch;                   /* tiles per run; 0: as many as an engine was built for, else one */
    gpsr_progress progress;          /* may be NULL */
    void* user;                      /* for `progress` */
} gpsr_run_options;

/* How a picture would be cut. */
typedef struct gpsr_cut {
    size_t struct_size;                           /* sizeof(gpsr_cut) */
    int64_t tiles, tile_height, tile_width, halo; /* LR pixels, halo included */
} gpsr_cut;

/* Version of this library, three numbers. */
GPSR_API const char* gpsr_version(void);

/* What this library was built with, separated by spaces: "openvino tensorrt-rtx". */
GPSR_API const char* gpsr_runtimes(void);

/* Opens the .onnx or .plan file at `path` (a plan with its sidecar beside it). `options` may be NULL.
 *
 * `*model` is to be closed whatever is returned: where opening failed, it is there to be asked for the error. It is
 * NULL only where there was no memory even for that. GPSR_USAGE, GPSR_INPUT_UNREADABLE, GPSR_MODEL_REFUSED or
 * GPSR_OUT_OF_MEMORY. */
GPSR_API gpsr_status gpsr_open(const char* path, const gpsr_open_options* options, gpsr_model** model);

/* Frees the model. NULL is allowed. */
GPSR_API void gpsr_close(gpsr_model* model);

/* What the last call that failed had to say, one printable line of UTF-8: `error[5] x.plan: what was found. Expected
 * ... Try:
 * ...`. Empty if none failed. It stands until the next call with this model. */
GPSR_API const char* gpsr_error(const gpsr_model* model);

/* Fills `spec`, of which only `struct_size` has to be set. */
GPSR_API gpsr_status gpsr_get_spec(gpsr_model* model, gpsr_spec* spec);

/* Fills `cut` for a picture of this size, of which only `struct_size` has to be set. `options` may be NULL. */
GPSR_API gpsr_status gpsr_get_cut(gpsr_model* model, int64_t height, int64_t width, const gpsr_run_options* options,
                                  gpsr_cut* cut);

/* Enlarges `lr`, whose pixels are only read, into the memory of `sr`: of `lr`'s type and channels, scale times as high
 * and wide, and not overlapping. The orders of their channels may differ. `options` may be NULL.
 *
 * Where it fails `sr` holds anything. GPSR_USAGE, GPSR_MODEL_REFUSED, GPSR_OUT_OF_MEMORY or GPSR_CANCELLED. */
GPSR_API gpsr_status gpsr_upscale(gpsr_model* model, const gpsr_picture* lr, const gpsr_picture* sr,
                                  const gpsr_run_options* options);

#ifdef __cplusplus
}
#endif

#endif
