// UTF-8 that may be hostile: is it whole, can it be shown, and what to show instead. No I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gpsr {

// Characters of a path or of found text that an error line shows; hostile input can be longer.
inline constexpr std::size_t max_shown = 300;

// Takes one character off the front of `text`; none where its bytes are not UTF-8 (too long a form, a surrogate, cut
// off).
std::optional<char32_t> next_character(std::string_view& text);

// How many characters `text` has; none where it is not UTF-8.
std::optional<std::size_t> count_characters(std::string_view text);

// Whether a terminal shows it as one mark or a space: no control, format, private or separating character.
bool is_printable(char32_t character);

// Whether `text` is UTF-8 of printable characters only.
bool is_printable(std::string_view text);

// `text` as one line that is safe on a terminal: what is not printable becomes an escape. Longer text than `max_shown`
// characters is cut in the middle, since both ends of a path matter.
std::string printable(std::string_view text);

// `words` with `between` between them.
std::string joined(const std::vector<std::string>& words, const char* between = ", ");

// `character` as UTF-8, added to `text`.
void append(std::string& text, char32_t character);

} // namespace gpsr
