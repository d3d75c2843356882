// The command line of gpsr-cpp: names and meanings are gpsr-trt's.
#pragma once

#include <gpsr/gpsr.hpp>
#include <string>

struct Arguments {
    std::string input, output, engine;
    gpsr::OpenOptions open;
    gpsr_run_options run{};
    bool overwrite = false, quiet = false, help = false;
};

extern const char* const help_text;

// Throws Failure (usage).
Arguments parse(int count, char** words);
