// A file that appears whole or not at all: written under a temporary name beside its own, then renamed. For POSIX.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

// Throws Failure (unwritable) where `write_whole` could not, as far as can be known before there is anything to write.
void require_writable(const std::string& path, bool overwrite);

// `bytes` under the name `path`. Throws Failure (unwritable), and a file that is there stays as it is.
void write_whole(const std::string& path, const std::vector<std::uint8_t>& bytes, bool overwrite);
