// What this machine has to offer: memory.
#pragma once

#include <cstdint>
#include <optional>

namespace gpsr {

// Bytes that this process may still take without swapping; none where the system does not tell.
std::optional<std::int64_t> available_memory();

// Whether this process could get so many bytes now. Takes nothing.
bool could_get(std::int64_t bytes);

} // namespace gpsr
