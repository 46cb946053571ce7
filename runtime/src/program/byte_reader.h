// Reads a saved program front to back; every overrun is an IsaError.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>

#include "errors.h"

namespace microscopiq {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the saved form is little-endian");

class ByteReader {
 public:
  ByteReader(const uint8_t* data, uint64_t length) : data_(data), length_(length) {}

  uint64_t position() const { return position_; }
  uint64_t left() const { return length_ - position_; }

  const uint8_t* Raw(uint64_t count) {
    // Compared with what is left: a huge count can't overflow and nothing is allocated for it.
    if (count > left()) {
      Fail(kIsaError, "truncated program: ", count, " bytes wanted at ",
           Hex{static_cast<int64_t>(position_)}, ", ", left(), " left");
    }
    const uint8_t* piece = data_ + position_;
    position_ += count;
    return piece;
  }

  template <typename T>
  T Number() {
    T value;
    std::memcpy(&value, Raw(sizeof(T)), sizeof(T));
    return value;
  }

  std::string Text();

 private:
  const uint8_t* data_;
  uint64_t length_;
  uint64_t position_ = 0;
};

}  // namespace microscopiq
