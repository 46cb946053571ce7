// Errors of the C++ core, by the names of target/errors.py. Knows nothing of tvm_ffi.
#pragma once
#include <cstdint>
#include <exception>
#include <ostream>
#include <sstream>
#include <string>
#include <utility>

namespace microscopiq {

constexpr const char* kBudgetError = "BudgetError";
constexpr const char* kConfigError = "ConfigError";
constexpr const char* kInputError = "InputError";
constexpr const char* kIsaError = "IsaError";
constexpr const char* kSimError = "SimError";

class Error : public std::exception {
 public:
  Error(const char* kind, std::string message) : kind_(kind), message_(std::move(message)) {}
  const char* kind() const { return kind_; }
  const std::string& message() const { return message_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  const char* kind_;
  std::string message_;
};

// Prints an address or offset as 0x..., negative ones with their sign.
struct Hex {
  int64_t value;
};
inline std::ostream& operator<<(std::ostream& out, Hex hex) {
  uint64_t magnitude = static_cast<uint64_t>(hex.value);
  if (hex.value < 0) {
    out << '-';
    magnitude = 0 - magnitude;
  }
  return out << "0x" << std::hex << magnitude << std::dec;
}

template <typename... Parts>
[[noreturn, gnu::noinline, gnu::cold]] void Fail(const char* kind, const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw Error(kind, text.str());
}

}  // namespace microscopiq
