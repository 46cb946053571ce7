// What a call did to a memory, byte by byte: the judge of debug mode.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "stats.h"

namespace microscopiq {

struct Box;
class Hazards;

// How far each unit is known to be: all its accesses by instructions up to these numbers are over.
// Numbers count the instructions of a call as they run, from 1.
struct Clock {
  std::array<uint32_t, kUnits> read{};
  std::array<uint32_t, kUnits> written{};

  void Join(const Clock& other);
};

// The instruction that runs: who it is, and what it can rely on.
struct Runner {
  int unit = 0;
  uint32_t number = 0;
  const Clock* clock = nullptr;
};

// Two accesses that nothing orders.
struct Race {
  std::string memory;
  int64_t address;
  bool writes;  // the runner; else it reads
  int other_unit;
  uint32_t other_number;
  bool other_writes;
};

class Shadow {
 public:
  // Two units may not meet in one word, even if they touch different bytes of it.
  Shadow(std::string name, int word_bytes, const Hazards* hazards)
      : name_(std::move(name)), word_bytes_(word_bytes), hazards_(hazards) {}

  void Reset();
  // Throw SimError for bytes that nothing wrote in this call, and for races.
  void Read(const Box& box);
  void Write(const Box& box);

 private:
  // By word, the number of the last instruction of one unit that read (or wrote) it.
  struct Lane {
    std::vector<uint32_t> last;
    uint32_t latest = 0;  // largest of them
  };
  using Lanes = std::array<Lane, kUnits>;

  // Bytes [first, end), which lie inside the memory.
  void ReadSpan(int64_t first, int64_t end);
  void WriteSpan(int64_t first, int64_t end);
  void Check(const Lanes& lanes, bool writes, int64_t first, int64_t end) const;
  void Mark(Lane* lane, int64_t first, int64_t end);

  std::string name_;
  int word_bytes_;
  const Hazards* hazards_;
  std::vector<uint8_t> written_;  // by byte; shorter than the memory: nothing beyond was written
  Lanes reads_;
  Lanes writes_;
};

}  // namespace microscopiq
