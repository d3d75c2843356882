// Why the program ends: an exit code of gpsr-trt, and one line that says so.
#pragma once

#include <stdexcept>
#include <string>

enum Exit { usage_error = 2, unreadable = 3, unwritable = 4, out_of_memory = 6 };

// `text` with what a terminal would take for a command escaped: control characters, and those that change the direction
// of text.
inline std::string printable(const std::string& text) {
    std::string shown;
    const auto byte = [&](std::size_t index) { return static_cast<unsigned char>(text[index]); };
    for (std::size_t index = 0; index < text.size(); ++index) {
        const bool more = index + 1 < text.size();
        const bool control = byte(index) < 0x20 || byte(index) == 0x7F ||
                             (byte(index) == 0xC2 && more && byte(index + 1) < 0xA0) ||
                             (byte(index) == 0xE2 && more && (byte(index + 1) == 0x80 || byte(index + 1) == 0x81));
        if (control) {
            constexpr char digits[] = "0123456789abcdef";
            shown += {'\\', 'x', digits[byte(index) >> 4], digits[byte(index) & 15]};
        } else {
            shown += text[index];
        }
    }
    return shown;
}

class Failure : public std::runtime_error {
  public:
    Failure(Exit code, const std::string& path, const std::string& clauses)
        : std::runtime_error("error[" + std::to_string(code) + "] " + (path.empty() ? "" : printable(path) + ": ") +
                             clauses),
          code(code) {}

    Exit code;
};
