// JSON that may be hostile (RFC 8259): strict, and bounded in depth and length. No I/O.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace gpsr::json {

// A spec is a few hundred characters; anything near this limit is not one.
inline constexpr std::size_t max_characters = 64 * 1024;

// A sidecar is three deep.
inline constexpr int max_depth = 8;

struct Value;
struct Member;
using List = std::vector<Value>;
using Object = std::vector<Member>;

// A number without point and exponent is an int64_t, or a double where it is too large for that.
struct Value {
    std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, List, Object> held;

    template <class Kind>
    const Kind* as() const {
        return std::get_if<Kind>(&held);
    }
};

struct Member {
    std::string name;
    Value value;
};

// What `text` holds. Throws Error (refused) for what is not JSON, twice the same key in an object, a lone surrogate, or
// more than the limits.
Value parse(std::string_view text);

// A value as an error shows it, not longer than a few hundred characters.
std::string shown(const Value& value);

} // namespace gpsr::json
