// SHA-256 (FIPS 180-4), which says whether a file is the one that was written.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace gpsr {

// A digest in the making: bytes are added in pieces of any size.
class Sha256 {
  public:
    void add(std::string_view bytes);

    // The digest of all that was added, 64 lower-case hexadecimal digits. The last call to an object.
    std::string digest();

  private:
    void block(const unsigned char* bytes);

    std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<unsigned char, 64> pending_{};
    std::uint64_t added_ = 0;
};

std::string sha256(std::string_view bytes);

// Whether `text` is a digest as `digest` writes it.
bool is_sha256(std::string_view text);

} // namespace gpsr
