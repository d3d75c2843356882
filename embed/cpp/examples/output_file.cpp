// A file that appears whole or not at all.
#include "output_file.hpp"

#include "failure.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

Failure refused(const std::string& path) {
    return {unwritable, path,
            std::string("cannot be written (") + std::strerror(errno) + "). Expected a writable folder with space."};
}

// A new file beside `path`; removed at the end if it still has its name.
class Temporary {
  public:
    explicit Temporary(const std::string& path) : path_(path) {
        const auto slash = path.find_last_of('/') + 1;
        name_ = path.substr(0, slash) + "." + path.substr(slash).substr(0, 200) + ".XXXXXX";
        descriptor_ = mkstemp(name_.data());
        if (descriptor_ < 0) {
            throw refused(path_);
        }
        const mode_t mask = umask(0);
        umask(mask);
        static_cast<void>(fchmod(descriptor_, 0666 & ~mask)); // mkstemp makes files for the user alone
    }

    Temporary(const Temporary&) = delete;
    Temporary& operator=(const Temporary&) = delete;

    ~Temporary() {
        close(descriptor_);
        if (!published_) {
            unlink(name_.c_str());
        }
    }

    void add(const std::vector<std::uint8_t>& bytes) {
        for (std::size_t done = 0; done < bytes.size();) {
            const ssize_t written = write(descriptor_, bytes.data() + done, bytes.size() - done);
            if (written < 0 && errno != EINTR) {
                throw refused(path_);
            }
            done += written > 0 ? static_cast<std::size_t>(written) : 0;
        }
        if (fsync(descriptor_) != 0) {
            throw refused(path_);
        }
    }

    void publish(bool overwrite) {
        // A link never replaces. Where there are no links, a rename has to do.
        if (!overwrite && link(name_.c_str(), path_.c_str()) == 0) {
            return;
        }
        if (!overwrite && errno == EEXIST) {
            throw Failure(unwritable, path_, "there is such a file. Expected a new name. Try: --overwrite.");
        }
        if (std::rename(name_.c_str(), path_.c_str()) != 0) {
            throw refused(path_);
        }
        published_ = true;
    }

  private:
    const std::string& path_;
    std::string name_;
    int descriptor_ = -1;
    bool published_ = false;
};

} // namespace

void require_writable(const std::string& path, bool overwrite) {
    struct stat found{};
    const bool there = lstat(path.c_str(), &found) == 0;
    if (there && !overwrite) {
        throw Failure(unwritable, path, "there is such a file. Expected a new name. Try: --overwrite.");
    }
    if (there && S_ISDIR(found.st_mode)) {
        errno = EISDIR;
        throw refused(path);
    }
    const Temporary tried(path);
}

void write_whole(const std::string& path, const std::vector<std::uint8_t>& bytes, bool overwrite) {
    Temporary file(path);
    file.add(bytes);
    file.publish(overwrite);
}
