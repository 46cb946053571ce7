#include "memory.h"

#include <algorithm>
#include <cstring>

#include "errors.h"

namespace microscopiq {
namespace {
constexpr uint8_t kPoison = 0xA5;
}  // namespace

Memory::Memory(const char* name, int64_t size_bytes)
    : name_(name), bytes_(static_cast<size_t>(size_bytes)), dirty_end_(size_bytes) {}

void Memory::Poison() {
  std::memset(bytes_.data(), kPoison, static_cast<size_t>(dirty_end_));
  dirty_end_ = 0;
  ++version_;
}

const uint8_t* Memory::Read(const Box& box) {
  Check(box);
  traffic_->read += (box.pitch ? box.rows : 1) * box.row_bytes;
  return bytes_.data() + box.base;
}

uint8_t* Memory::Write(const Box& box) {
  Check(box);
  if (box.rows > 1 && box.pitch < box.row_bytes) {
    Fail(kSimError, name_, " address ", Hex{box.base}, ": rows of ", box.row_bytes,
         " bytes are written ", box.pitch, " bytes apart; allowed: at least their length");
  }
  traffic_->written += box.rows * box.row_bytes;
  ++version_;
  dirty_end_ = std::max(dirty_end_, box.base + (box.rows - 1) * box.pitch + box.row_bytes);
  return bytes_.data() + box.base;
}

const uint8_t* Memory::Peek(int64_t address, int64_t bytes) const {
  Check({address, 0, 1, bytes});
  return bytes_.data() + address;
}

void Memory::Check(const Box& box) const {
  // Extents and pitches have 32 bits each: their product needs more than 64 with a base.
  __int128 end = static_cast<__int128>(box.rows - 1) * box.pitch + box.base + box.row_bytes;
  if (box.base < 0 || end > size()) {
    Fail(kSimError, name_, " address ", Hex{box.base}, ": ", box.rows, " rows of ", box.row_bytes,
         " bytes, ", box.pitch, " apart, leave the memory; allowed: 0x0 to ", Hex{size()});
  }
  if (box.base % box.align || (box.rows > 1 && box.pitch % box.align)) {
    Fail(kSimError, name_, " address ", Hex{box.base}, ", pitch ", box.pitch,
         ": not aligned; allowed: multiples of ", box.align);
  }
}

}  // namespace microscopiq
