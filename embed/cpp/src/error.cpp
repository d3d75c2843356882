// How an error reads: one line, whatever hostile text is in it.
#include "error.hpp"

#include "text.hpp"

namespace gpsr {

Error::Error(Code code, std::string found, std::string expected, std::string remedy)
    : code(code), found(std::move(found)), expected(std::move(expected)), remedy(std::move(remedy)) {}

Error Error::at(const std::string& file) const {
    Error error = *this;
    if (error.path.empty()) {
        error.path = file;
    }
    return error;
}

std::string Error::line() const {
    std::string line = "error[" + std::to_string(static_cast<int>(code)) + "]";
    line += path.empty() ? " " : " " + printable(path) + ": ";
    line += printable(found) + ".";
    line += expected.empty() ? "" : " Expected " + printable(expected) + ".";
    line += remedy.empty() ? "" : " Try: " + printable(remedy) + ".";
    return line;
}

} // namespace gpsr
