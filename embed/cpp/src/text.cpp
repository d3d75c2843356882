// UTF-8 that may be hostile: decoding, and the characters that are not shown.
#include "text.hpp"

#include <algorithm>
#include <array>

namespace gpsr {

namespace {

struct Range {
    char32_t first, last;
};

// Controls, formats, separators, surrogates, private use and what never will be a character, as Unicode 15 has them.
// What Unicode has not given away yet counts as printable here, which depends on the version elsewhere.
constexpr std::array<Range, 39> unprintable{{
    {0x0, 0x1F},        {0x7F, 0xA0},       {0xAD, 0xAD},       {0x600, 0x605},      {0x61C, 0x61C},
    {0x6DD, 0x6DD},     {0x70F, 0x70F},     {0x890, 0x891},     {0x8E2, 0x8E2},      {0x1680, 0x1680},
    {0x180E, 0x180E},   {0x2000, 0x200F},   {0x2028, 0x202F},   {0x205F, 0x206F},    {0x3000, 0x3000},
    {0xD800, 0xF8FF},   {0xFDD0, 0xFDEF},   {0xFEFF, 0xFEFF},   {0xFFF0, 0xFFFB},    {0xFFFE, 0xFFFF},
    {0x110BD, 0x110BD}, {0x110CD, 0x110CD}, {0x13430, 0x1343F}, {0x1BCA0, 0x1BCA3},  {0x1D173, 0x1D17A},
    {0x1FFFE, 0x1FFFF}, {0x2FFFE, 0x2FFFF}, {0x3FFFE, 0x3FFFF}, {0x4FFFE, 0x4FFFF},  {0x5FFFE, 0x5FFFF},
    {0x6FFFE, 0x6FFFF}, {0x7FFFE, 0x7FFFF}, {0x8FFFE, 0x8FFFF}, {0x9FFFE, 0x9FFFF},  {0xAFFFE, 0xAFFFF},
    {0xBFFFE, 0xBFFFF}, {0xCFFFE, 0xCFFFF}, {0xDFFFE, 0xE00FF}, {0xEFFFE, 0x10FFFF},
}};

std::string escaped(std::uint32_t value, char kind, int digits) {
    static constexpr char hexadecimal[] = "0123456789abcdef";
    std::string made{'\\', kind};
    for (int digit = digits - 1; digit >= 0; --digit) {
        made += hexadecimal[(value >> (4 * digit)) & 15];
    }
    return made;
}

std::string escape_of(char32_t character) {
    switch (character) {
    case U'\n':
        return "\\n";
    case U'\r':
        return "\\r";
    case U'\t':
        return "\\t";
    default:
        return character < 0x100     ? escaped(character, 'x', 2)
               : character < 0x10000 ? escaped(character, 'u', 4)
                                     : escaped(character, 'U', 8);
    }
}

} // namespace

std::optional<char32_t> next_character(std::string_view& text) {
    const auto byte = [&](std::size_t index) { return static_cast<unsigned char>(text[index]); };
    if (text.empty()) {
        return std::nullopt;
    }
    const unsigned char lead = byte(0);
    const std::size_t length = lead < 0x80   ? 1
                               : lead < 0xC2 ? 0
                               : lead < 0xE0 ? 2
                               : lead < 0xF0 ? 3
                               : lead < 0xF5 ? 4
                                             : 0;
    if (length == 0 || text.size() < length) {
        return std::nullopt;
    }
    char32_t character = length == 1 ? lead : lead & (0x7FU >> length);
    for (std::size_t index = 1; index < length; ++index) {
        if ((byte(index) & 0xC0U) != 0x80U) {
            return std::nullopt;
        }
        character = (character << 6U) | (byte(index) & 0x3FU);
    }
    constexpr std::array<char32_t, 5> least{0, 0, 0x80, 0x800, 0x10000};
    if (character < least[length] || character > 0x10FFFF || (character >= 0xD800 && character <= 0xDFFF)) {
        return std::nullopt;
    }
    text.remove_prefix(length);
    return character;
}

std::optional<std::size_t> count_characters(std::string_view text) {
    std::size_t count = 0;
    for (; !text.empty(); ++count) {
        if (!next_character(text)) {
            return std::nullopt;
        }
    }
    return count;
}

bool is_printable(char32_t character) {
    const auto* range = std::upper_bound(unprintable.begin(), unprintable.end(), character,
                                         [](char32_t value, const Range& one) { return value < one.first; });
    return range == unprintable.begin() || character > (range - 1)->last;
}

bool is_printable(std::string_view text) {
    while (!text.empty()) {
        const auto character = next_character(text);
        if (!character || !is_printable(*character)) {
            return false;
        }
    }
    return true;
}

std::string printable(std::string_view text) {
    std::u32string line;
    const auto add = [&](const std::string& escape) { line.append(escape.begin(), escape.end()); };
    while (!text.empty()) {
        const auto character = next_character(text);
        if (!character) {
            add(escaped(static_cast<unsigned char>(text.front()), 'x', 2));
            text.remove_prefix(1);
        } else if (is_printable(*character)) {
            line += *character;
        } else {
            add(escape_of(*character));
        }
    }
    if (line.size() > max_shown) {
        line.replace(max_shown / 2, line.size() - max_shown / 2 * 2, U"...");
    }
    std::string shown;
    for (const char32_t character : line) {
        append(shown, character);
    }
    return shown;
}

std::string joined(const std::vector<std::string>& words, const char* between) {
    std::string line;
    for (const auto& word : words) {
        line += (&word == words.data() ? "" : between) + word;
    }
    return line;
}

void append(std::string& text, char32_t character) {
    const auto tail = [&](unsigned shift) { text += static_cast<char>(0x80U | ((character >> shift) & 0x3FU)); };
    if (character < 0x80) {
        text += static_cast<char>(character);
    } else if (character < 0x800) {
        text += static_cast<char>(0xC0U | (character >> 6U));
        tail(0);
    } else if (character < 0x10000) {
        text += static_cast<char>(0xE0U | (character >> 12U));
        tail(6);
        tail(0);
    } else {
        text += static_cast<char>(0xF0U | (character >> 18U));
        tail(12);
        tail(6);
        tail(0);
    }
}

} // namespace gpsr
