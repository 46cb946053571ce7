#include "memory/hazard.h"

#include <algorithm>
#include <string>

#include "errors.h"
#include "memory/memory.h"
#include "program/listing.h"

namespace microscopiq {
namespace {

// Bytes that no two units can access apart: sums and fp32 are stored as words.
int WordBytes(Mem mem) { return mem == Mem::kAcc || mem == Mem::kObuf ? 4 : 1; }

const char* After(bool written) { return written ? " (after=0)" : " (after=1)"; }

// Where the `number`th instruction of a call stands: only loops and what clips say decide, so that
// a walk without any values finds it.
std::string PlaceOf(const Function& function, uint32_t number) {
  std::vector<size_t> begins;
  std::vector<int64_t> counters;
  std::array<int64_t, kExtentRegisters> extents{};
  size_t next = 0;
  const auto leave = [&] {
    next = function.code[begins.back() - 1].partner + 1;
    begins.pop_back();
    counters.pop_back();
  };
  for (;;) {
    const Instruction& current = function.code[next++];
    if (--number == 0) {
      std::ostringstream out;
      out << "pc " << Hex{current.pc} << CountersText(counters.data(), counters.size()) << ", "
          << Text(current.operation);
      return out.str();
    }
    if (std::holds_alternative<Loop>(current.operation)) {
      begins.push_back(next);
      counters.push_back(0);
    } else if (std::holds_alternative<EndLoop>(current.operation)) {
      const Instruction& begin = function.code[current.partner];
      if (++counters.back() < std::get<Loop>(begin.operation).count) {
        next = begins.back();
      } else {
        leave();
      }
    } else if (const auto* clip = std::get_if<Clip>(&current.operation)) {
      const int depth = static_cast<int>(counters.size());
      extents[clip->extent] = ClippedExtent(*clip, counters.data(), depth);
    } else if (const auto* test = std::get_if<Break>(&current.operation)) {
      if (extents[test->extent] == 0) leave();
    }
  }
}

// Outputs that an instruction loads from.
std::vector<bool> LoadedOutputs(const Function& function) {
  std::vector<bool> loaded(function.arguments.size());
  for (const Instruction& instruction : function.code) {
    int arg = -1;
    if (const auto* load = std::get_if<DmaLoad>(&instruction.operation)) arg = load->arg;
    if (const auto* load = std::get_if<DmaGather>(&instruction.operation)) arg = load->arg;
    if (const auto* load = std::get_if<DmaIm2col>(&instruction.operation)) arg = load->arg;
    if (arg >= 0) loaded[arg] = function.arguments[arg].is_output;
  }
  return loaded;
}

}  // namespace

Hazards::Hazards() : slots_("weight plane", 1, this), merges_("ReCoN merges", 1, this) {
  for (int mem = 0; mem < kMems; ++mem) {
    memories_[mem] =
        std::make_unique<Shadow>(kMemNames[mem], WordBytes(static_cast<Mem>(mem)), this);
  }
}

void Hazards::Reset(const Function& function) {
  function_ = &function;
  runner_ = {};
  clocks_ = {};
  semaphores_ = {};
  for (auto& memory : memories_) memory->Reset();
  slots_.Reset();
  merges_.Reset();
  tensors_.clear();
  const std::vector<bool> loaded = LoadedOutputs(function);
  for (size_t arg = 0; arg < loaded.size(); ++arg) {
    const std::string name = "argument " + std::to_string(arg);
    tensors_.push_back(loaded[arg] ? std::make_unique<Shadow>(name, 1, this) : nullptr);
  }
}

void Hazards::Begin(Unit unit, int64_t number) {
  const int index = static_cast<int>(unit);
  runner_ = {index, static_cast<uint32_t>(number), &clocks_[index]};
}

void Hazards::AddTokens(int sem, int64_t delta) { semaphores_[sem].ready += delta; }

void Hazards::Wait(Unit unit, int sem) {
  Semaphore& semaphore = semaphores_[sem];
  const int index = static_cast<int>(unit);
  if (semaphore.waiter && semaphore.waiter != index) {
    Fail(kSimError, "semaphore ", sem, " was taken by ", kUnitNames[semaphore.waiter], " before, ",
         kUnitNames[index], " waits for it now: which of them gets a token isn't defined; ",
         "allowed: one unit that waits");
  }
  semaphore.waiter = index;
  while (semaphore.ready < 0 && !semaphore.posted.empty()) {
    semaphore.posted.pop_front();
    ++semaphore.ready;
  }
  if (semaphore.ready > 0) {
    --semaphore.ready;
  } else if (!semaphore.posted.empty()) {
    clocks_[index].Join(semaphore.posted.front());
    semaphore.posted.pop_front();
  }
}

void Hazards::Post(Unit unit, int sem, int64_t number, bool written) {
  Semaphore& semaphore = semaphores_[sem];
  const int index = static_cast<int>(unit);
  if (semaphore.poster && (semaphore.poster != index || semaphore.written != written)) {
    Fail(kSimError, "semaphore ", sem, " was posted by ", kUnitNames[semaphore.poster],
         After(semaphore.written), " before, ", kUnitNames[index], After(written),
         " posts it now: which token a wait takes isn't defined; allowed: one unit that posts, "
         "and for one reason");
  }
  semaphore.poster = index;
  semaphore.written = written;
  Clock token = clocks_[index];
  token.read[index] = static_cast<uint32_t>(number);
  if (written) token.written[index] = static_cast<uint32_t>(number);
  semaphore.posted.push_back(token);
}

void Hazards::ReadSlots(int plane) { slots_.Read({plane, 0, 1, 1}); }
void Hazards::WriteSlots(int plane) { slots_.Write({plane, 0, 1, 1}); }
void Hazards::ReadMerges(int plane) { merges_.Read({plane, 0, 1, 1}); }
void Hazards::WriteMerges(int plane) { merges_.Write({plane, 0, 1, 1}); }

void Hazards::Tensor(int arg, int64_t base, int64_t rows, int64_t pitch, int64_t cols, int64_t step,
                     int64_t element) {
  Shadow* tensor = tensors_[arg].get();
  if (!tensor) return;
  const bool dense = step == element;
  const int64_t pieces = dense ? 1 : cols;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t piece = 0; piece < pieces; ++piece) {
      const Box box{base + row * pitch + piece * step, 0, 1, dense ? cols * element : element};
      if (runner_.unit == static_cast<int>(Unit::kDmaOut)) {
        tensor->Write(box);
      } else {
        tensor->Read(box);
      }
    }
  }
}

void Hazards::Report(const Race& race) const {
  const char* self = kUnitNames[runner_.unit];
  const char* other = kUnitNames[race.other_unit];
  Fail(kSimError, race.memory, " address ", Hex{race.address}, ": ", self,
       race.writes ? " writes" : " reads", " what ", other,
       race.other_writes ? " writes" : " reads", " at ", PlaceOf(*function_, race.other_number),
       ", in no defined order; allowed: after ", self, " waits for a token that ", other,
       " posts behind that instruction");
}

}  // namespace microscopiq
