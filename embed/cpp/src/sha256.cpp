// SHA-256 (FIPS 180-4), straight from its text.
#include "sha256.hpp"

#include <algorithm>
#include <cstring>

namespace gpsr {

namespace {

// The first 32 bits of the fractional parts of the cube roots of the first 64 primes (4.2.2).
constexpr std::array<std::uint32_t, 64> constants{
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

std::uint32_t rotated(std::uint32_t word, unsigned bits) { return (word >> bits) | (word << (32U - bits)); }

} // namespace

void Sha256::add(std::string_view bytes) {
    auto filled = static_cast<std::size_t>(added_ % 64);
    added_ += bytes.size();
    while (!bytes.empty()) {
        if (filled == 0 && bytes.size() >= 64) {
            block(reinterpret_cast<const unsigned char*>(bytes.data()));
            bytes.remove_prefix(64);
            continue;
        }
        const std::size_t taken = std::min(bytes.size(), 64 - filled);
        std::memcpy(pending_.data() + filled, bytes.data(), taken);
        bytes.remove_prefix(taken);
        filled += taken;
        if (filled == 64) {
            block(pending_.data());
            filled = 0;
        }
    }
}

std::string Sha256::digest() {
    const std::uint64_t bits = added_ * 8;
    std::string tail(1, '\x80');
    tail.append((119 - added_ % 64) % 64, '\0');
    for (int shift = 56; shift >= 0; shift -= 8) {
        tail += static_cast<char>(bits >> shift);
    }
    add(tail);
    static constexpr char hexadecimal[] = "0123456789abcdef";
    std::string text;
    for (const std::uint32_t word : state_) {
        for (int shift = 28; shift >= 0; shift -= 4) {
            text += hexadecimal[(word >> shift) & 15U];
        }
    }
    return text;
}

void Sha256::block(const unsigned char* bytes) {
    std::array<std::uint32_t, 64> words{};
    for (std::size_t t = 0; t < 16; ++t) {
        words[t] = static_cast<std::uint32_t>(bytes[4 * t]) << 24U |
                   static_cast<std::uint32_t>(bytes[4 * t + 1]) << 16U |
                   static_cast<std::uint32_t>(bytes[4 * t + 2]) << 8U | bytes[4 * t + 3];
    }
    for (std::size_t t = 16; t < 64; ++t) {
        const std::uint32_t early = words[t - 15], late = words[t - 2];
        const std::uint32_t small0 = rotated(early, 7) ^ rotated(early, 18) ^ (early >> 3U);
        const std::uint32_t small1 = rotated(late, 17) ^ rotated(late, 19) ^ (late >> 10U);
        words[t] = small1 + words[t - 7] + small0 + words[t - 16];
    }
    auto [a, b, c, d, e, f, g, h] = state_;
    for (std::size_t t = 0; t < 64; ++t) {
        const std::uint32_t big1 = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25);
        const std::uint32_t first = h + big1 + ((e & f) ^ (~e & g)) + constants[t] + words[t];
        const std::uint32_t big0 = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22);
        const std::uint32_t second = big0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g;
        g = f;
        f = e;
        e = d + first;
        d = c;
        c = b;
        b = a;
        a = first + second;
    }
    const std::array<std::uint32_t, 8> worked{a, b, c, d, e, f, g, h};
    std::transform(state_.begin(), state_.end(), worked.begin(), state_.begin(), std::plus<>());
}

std::string sha256(std::string_view bytes) {
    Sha256 sum;
    sum.add(bytes);
    return sum.digest();
}

bool is_sha256(std::string_view text) {
    return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

} // namespace gpsr
