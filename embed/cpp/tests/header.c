/* The C interface in C99: every function and structure, as a C program would use them. */
#include <gpsr/gpsr.h>

int use_of_everything(const char* path, void* pixels);

int use_of_everything(const char* path, void* pixels) {
    gpsr_open_options open = {sizeof open, "auto", 0, 0, "auto"};
    gpsr_run_options run = {sizeof run, 0, 0, 0, 0, 0, 0, NULL, NULL};
    gpsr_picture lr = {sizeof lr, pixels, 1, 1, 0, GPSR_U8, 3, GPSR_RGB, 0}, sr = lr;
    gpsr_spec spec = {.struct_size = sizeof spec};
    gpsr_cut cut = {.struct_size = sizeof cut};
    gpsr_model* model = NULL;
    gpsr_status status = gpsr_open(path, &open, &model);
    if (status == GPSR_OK) {
        status =
            gpsr_get_spec(model, &spec) | gpsr_get_cut(model, 1, 1, &run, &cut) | gpsr_upscale(model, &lr, &sr, &run);
    }
    status |= *gpsr_error(model) | *gpsr_version() | *gpsr_runtimes();
    gpsr_close(model);
    return status;
}
