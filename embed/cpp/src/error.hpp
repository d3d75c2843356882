// The errors that users meet: each carries its code and says what was found, what was expected and what to do.
#pragma once

#include <exception>
#include <string>
#include <utility>

namespace gpsr {

// The numbers are the exit codes of gpsr-trt, and gpsr.h's.
enum class Code { bug = 1, usage = 2, unreadable = 3, unwritable = 4, refused = 5, out_of_memory = 6, cancelled = 130 };

// `found`, `expected` and `remedy` are clauses without a final full stop; the last two may be empty where they would
// only repeat the first. `path` is the file concerned, if one is.
class Error : public std::exception {
  public:
    Error(Code code, std::string found, std::string expected = {}, std::string remedy = {});

    Code code;
    std::string found, expected, remedy, path;

    // The error about a file, unless it names one already.
    Error at(const std::string& file) const;

    // One printable line: `error[5] path: found. Expected expected. Try: remedy.`
    std::string line() const;

    const char* what() const noexcept override { return found.c_str(); }
};

template <class... Clauses>
Error usage(Clauses&&... clauses) {
    return {Code::usage, std::forward<Clauses>(clauses)...};
}

template <class... Clauses>
Error unreadable(Clauses&&... clauses) {
    return {Code::unreadable, std::forward<Clauses>(clauses)...};
}

template <class... Clauses>
Error refused(Clauses&&... clauses) {
    return {Code::refused, std::forward<Clauses>(clauses)...};
}

template <class... Clauses>
Error out_of_memory(Clauses&&... clauses) {
    return {Code::out_of_memory, std::forward<Clauses>(clauses)...};
}

} // namespace gpsr
