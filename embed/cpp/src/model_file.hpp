// Reading a model's bytes: a regular file of bounded size, and nothing else.
#pragma once

#include <cstdint>
#include <string>

namespace gpsr {

// All of the file at `path`. Throws Error: unreadable, refused for one of over `most` bytes, out_of_memory.
std::string read_file(const std::string& path, std::uint64_t most);

// Whether there is something under this name, readable or not.
bool is_there(const std::string& path);

} // namespace gpsr
