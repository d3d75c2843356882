// Reading a model's bytes, by the standard library alone.
#include "model_file.hpp"

#include "error.hpp"

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <new>
#include <system_error>

namespace gpsr {

std::string read_file(const std::string& path, std::uint64_t most) {
    const auto failed = [&](const std::error_code& why) {
        return unreadable("cannot be read (" + why.message() + ")", "a model file").at(path);
    };
    std::error_code failure;
    const auto status = std::filesystem::status(path, failure);
    if (status.type() == std::filesystem::file_type::none || status.type() == std::filesystem::file_type::not_found) {
        throw failed(failure ? failure : std::make_error_code(std::errc::no_such_file_or_directory));
    }
    if (!std::filesystem::is_regular_file(status)) { // asked first: to open a FIFO would be to wait for its writer
        throw unreadable("this is no regular file", "a model file").at(path);
    }
    const std::uint64_t size = std::filesystem::file_size(path, failure);
    if (failure) {
        throw failed(failure);
    }
    if (size > most) {
        throw refused("the file has " + std::to_string(size) + " bytes", "at most " + std::to_string(most)).at(path);
    }
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        throw failed({errno, std::generic_category()});
    }
    try {
        std::string content(static_cast<std::size_t>(size), '\0');
        file.read(content.data(), static_cast<std::streamsize>(size));
        content.resize(static_cast<std::size_t>(file.gcount())); // it may have become shorter; checksums find that
        return content;
    } catch (const std::bad_alloc&) {
        throw out_of_memory("no memory for a file of " + std::to_string(size) + " bytes", "", "a machine with more")
            .at(path);
    }
}

bool is_there(const std::string& path) {
    std::error_code failure;
    const auto type = std::filesystem::symlink_status(path, failure).type();
    return type != std::filesystem::file_type::not_found && type != std::filesystem::file_type::none;
}

} // namespace gpsr
