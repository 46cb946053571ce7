// Instructions to bytes, the opposite of program/decode.cc.
#pragma once
#include <cstring>
#include <string>

#include "isa.gen.h"

namespace microscopiq {

// The generated `Read` methods call it with where each operand is.
class OperandWriter {
 public:
  explicit OperandWriter(std::string* bytes) : bytes_(bytes) {}

  void u8(const uint8_t* value) { Put(value); }
  void u16(const uint16_t* value) { Put(value); }
  void u32(const uint32_t* value) { Put(value); }
  void i32(const int32_t* value) { Put(value); }
  void i64(const int64_t* value) { Put(value); }
  void f32(const float* value) { Put(value); }
  void extent(const uint8_t* value) { Put(value); }
  void mem(const uint8_t* value) { Put(value); }
  void argument(const uint8_t* value) { Put(value); }
  void unit(const uint8_t* value) { Put(value); }
  void affine(const Affine* value) {
    const uint8_t padding = 0;
    Put(&value->base);
    for (const int32_t& stride : value->strides) Put(&stride);
    for (const uint8_t& turn : value->turns) Put(&turn);
    Put(&value->slots);
    Put(&padding);
    Put(&value->slot_step);
  }

 private:
  template <typename T>
  void Put(const T* value) {
    bytes_->append(reinterpret_cast<const char*>(value), sizeof(T));
  }

  std::string* bytes_;
};

template <typename Op>
std::string Encode(Op op) {
  std::string bytes;
  OperandWriter writer(&bytes);
  const uint16_t opcode = Op::kOpcode, length = Op::kBytes;
  writer.u16(&opcode);
  writer.u16(&length);
  op.Read(&writer);
  bytes.resize(length, '\0');
  return bytes;
}

}  // namespace microscopiq
