// What this machine has to offer, asked of Linux, else of POSIX.
#include "machine.hpp"

#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace gpsr {

std::optional<std::int64_t> available_memory() {
    std::ifstream file("/proc/meminfo");
    for (std::string name, unit; file >> name;) {
        std::int64_t kibibytes = 0;
        file >> kibibytes;
        if (name == "MemAvailable:" && file) {
            return kibibytes * 1024;
        }
        std::getline(file, unit);
    }
#if defined(_SC_AVPHYS_PAGES)
    const long pages = sysconf(_SC_AVPHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
    if (pages > 0 && page > 0) {
        return static_cast<std::int64_t>(pages) * page;
    }
#endif
    return std::nullopt;
}

bool could_get(std::int64_t bytes) {
    struct Freed {
        void operator()(void* memory) const { std::free(memory); }
    };
    const std::unique_ptr<void, Freed> memory(std::malloc(static_cast<std::size_t>(bytes)));
    const volatile bool there = memory != nullptr; // or the compiler sees that nobody uses it, and asks nobody
    return there;
}

} // namespace gpsr
