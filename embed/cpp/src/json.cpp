// JSON that may be hostile: one pass over the text, no recursion deeper than the limit.
#include "json.hpp"

#include "error.hpp"
#include "text.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>

namespace gpsr::json {

namespace {

struct NotJson {};

bool is_digit(char mark) { return mark >= '0' && mark <= '9'; }

class Reader {
  public:
    explicit Reader(std::string_view text) : rest_(text) {}

    Value document() {
        Value value = this->value(0);
        space();
        require(rest_.empty());
        return value;
    }

  private:
    static void require(bool holds) {
        if (!holds) {
            throw NotJson{};
        }
    }

    void space() { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\n\r"), rest_.size())); }

    char peek() const { return rest_.empty() ? '\0' : rest_.front(); }

    bool take(std::string_view token) {
        const bool there = rest_.substr(0, token.size()) == token;
        rest_.remove_prefix(there ? token.size() : 0);
        return there;
    }

    Value value(int depth) {
        require(depth <= max_depth);
        space();
        switch (peek()) {
        case '{':
            return {object(depth)};
        case '[':
            return {list(depth)};
        case '"':
            return {text()};
        case 'n':
            require(take("null"));
            return {nullptr};
        case 't':
            require(take("true"));
            return {true};
        case 'f':
            require(take("false"));
            return {false};
        default:
            return number();
        }
    }

    Object object(int depth) {
        Object members;
        std::set<std::string> names;
        take("{");
        space();
        while (!take("}")) {
            if (!members.empty()) {
                require(take(","));
                space();
            }
            require(peek() == '"');
            std::string name = text();
            require(names.insert(name).second); // of two with one name, readers take one or the other
            space();
            require(take(":"));
            members.push_back({std::move(name), value(depth + 1)});
            space();
        }
        return members;
    }

    List list(int depth) {
        List values;
        take("[");
        space();
        while (!take("]")) {
            require(values.empty() || take(","));
            values.push_back(value(depth + 1));
            space();
        }
        return values;
    }

    std::string text() {
        std::string found;
        take("\"");
        while (!take("\"")) {
            if (take("\\")) {
                append(found, escape());
            } else {
                require(static_cast<unsigned char>(peek()) >= 0x20);
                found += peek();
                rest_.remove_prefix(1);
            }
        }
        return found;
    }

    char32_t escape() {
        const char mark = peek();
        rest_.remove_prefix(rest_.empty() ? 0 : 1);
        constexpr std::string_view marks = "\"\\/bfnrt", meant = "\"\\/\b\f\n\r\t";
        if (mark != 'u') {
            const auto index = marks.find(mark);
            require(mark != '\0' && index != std::string_view::npos);
            return static_cast<unsigned char>(meant[index]);
        }
        const char32_t unit = hexadecimal();
        if (unit < 0xD800 || unit > 0xDFFF) {
            return unit;
        }
        require(unit < 0xDC00 && take("\\u"));
        const char32_t second = hexadecimal();
        require(second >= 0xDC00 && second <= 0xDFFF);
        return 0x10000 + ((unit - 0xD800) << 10U) + (second - 0xDC00);
    }

    char32_t hexadecimal() {
        require(rest_.size() >= 4);
        std::uint32_t unit = 0;
        const char* end = rest_.data() + 4;
        const auto [stopped, failure] = std::from_chars(rest_.data(), end, unit, 16);
        require(failure == std::errc() && stopped == end && rest_.front() != '-');
        rest_.remove_prefix(4);
        return unit;
    }

    Value number() {
        const std::string_view from = rest_;
        take("-");
        const bool zero = take("0");
        require(zero || is_digit(peek()));
        digits();
        require(!zero || rest_.data() == from.data() + (from.front() == '-' ? 2 : 1));
        bool whole = true;
        if (take(".")) {
            whole = false;
            require(is_digit(peek()));
            digits();
        }
        if (take("e") || take("E")) {
            whole = false;
            if (!take("+")) {
                take("-");
            }
            require(is_digit(peek()));
            digits();
        }
        const std::string_view token = from.substr(0, from.size() - rest_.size());
        std::int64_t integer = 0;
        if (whole && std::from_chars(token.data(), token.data() + token.size(), integer).ec == std::errc()) {
            return {integer};
        }
        return {real(token)};
    }

    void digits() {
        while (is_digit(peek())) {
            rest_.remove_prefix(1);
        }
    }

    // The double that is nearest; infinity or zero beyond what one holds.
    static double real(std::string_view token) {
        double value = 0;
        if (std::from_chars(token.data(), token.data() + token.size(), value).ec == std::errc()) {
            return value;
        }
        return magnitude(token) > 0 ? std::numeric_limits<double>::infinity() : 0.0;
    }

    // Whether a number beyond the range of a double is too large (positive) or too small.
    static double magnitude(std::string_view token) {
        const auto mark = std::min(token.find_first_of("eE"), token.size());
        const std::string_view mantissa = token.substr(0, mark);
        double exponent = 0;
        if (mark < token.size()) {
            std::string_view power = token.substr(mark + 1);
            power.remove_prefix(power.front() == '+' ? 1 : 0);
            const auto failure = std::from_chars(power.data(), power.data() + power.size(), exponent).ec;
            exponent = failure == std::errc() ? exponent : power.front() == '-' ? -1e9 : 1e9;
        }
        const auto point = static_cast<double>(std::min(mantissa.find('.'), mantissa.size()));
        return point - static_cast<double>(mantissa.find_first_of("123456789")) + exponent;
    }

    std::string_view rest_;
};

void show(const Value& value, std::string& text) {
    if (text.size() > max_shown) {
        return;
    }
    if (const auto* list = value.as<List>()) {
        text += '[';
        for (const Value& one : *list) {
            text += &one == list->data() ? "" : ", ";
            show(one, text);
        }
        text += ']';
    } else if (const auto* object = value.as<Object>()) {
        text += '{';
        for (const Member& one : *object) {
            text += (&one == object->data() ? "'" : ", '") + one.name.substr(0, max_shown) + "': ";
            show(one.value, text);
        }
        text += '}';
    } else if (const auto* words = value.as<std::string>()) {
        text += "'" + *words + "'";
    } else if (const auto* integer = value.as<std::int64_t>()) {
        text += std::to_string(*integer);
    } else if (const auto* real = value.as<double>()) {
        std::string digits(32, '\0');
        const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), *real).ptr;
        text.append(digits.data(), end);
    } else if (const auto* truth = value.as<bool>()) {
        text += *truth ? "true" : "false";
    } else {
        text += "null";
    }
}

} // namespace

Value parse(std::string_view text) {
    const auto characters = count_characters(text);
    if (!characters) {
        throw refused("the spec is not UTF-8", "JSON");
    }
    if (*characters > max_characters) {
        throw refused("the spec has " + std::to_string(*characters) + " characters",
                      "at most " + std::to_string(max_characters));
    }
    try {
        return Reader(text).document();
    } catch (const NotJson&) {
        throw refused("the spec is not JSON", "one JSON object");
    }
}

std::string shown(const Value& value) {
    std::string text;
    show(value, text);
    return text;
}

} // namespace gpsr::json
