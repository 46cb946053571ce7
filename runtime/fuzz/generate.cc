#include "generate.h"

#include <iterator>

#include "parts.h"

namespace microscopiq {
namespace {

template <typename T>
void Put(std::string* out, T value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void PutText(std::string* out, const std::string& text) {
  Put(out, static_cast<uint32_t>(text.size()));
  *out += text;
}

void PutArgument(std::string* out, const char* name, uint8_t dtype, bool output, int64_t length) {
  PutText(out, name);
  Put(out, dtype);
  Put(out, static_cast<uint8_t>(output));
  Put(out, uint32_t{1});
  Put(out, length);
}

std::string Head(ArchNumbers arch) {
  std::string head;
  for (const char* text : {"made up", "0123456789abcdef", "tsmc7"}) PutText(&head, text);
  Put(&head, uint32_t{kArchKeys});
  VisitArch(&arch, [&](const char* key, const int64_t* value, int64_t, int64_t) {
    PutText(&head, key);
    Put(&head, *value);
  });
  return head;
}

std::string Segment(const std::vector<MadePanel>& panels) {
  std::string segment, bytes;
  Put(&segment, static_cast<uint32_t>(panels.size()));
  const size_t first = 4 * (panels.size() + 2);
  for (const MadePanel& panel : panels) {
    Put(&segment, static_cast<uint32_t>(first + bytes.size()));
    bytes += panel.bytes;
  }
  Put(&segment, static_cast<uint32_t>(first + bytes.size()));
  return segment + bytes;
}

}  // namespace

std::string MakeProgram(Random* random) {
  const ArchNumbers arch = MakeMachine(random);
  std::vector<MadePanel> panels;
  for (int64_t left = Between(random, 1, 4); left > 0; --left) {
    const WeightFormat& format = kWeightFormats[Below(random, std::size(kWeightFormats))];
    if (Runs(arch, format)) panels.push_back(MakePanel(format, random));
  }
  FunctionParts function;
  PutText(&function.head, "f");
  PutText(&function.head, "layer");
  Put(&function.head, uint64_t{0});
  Put(&function.head, uint32_t{3});
  PutArgument(&function.head, "bytes", kDtype_int8, false, kBytesIn);
  PutArgument(&function.head, "floats", kDtype_float32, false, kFloatsIn);
  PutArgument(&function.head, "y", kDtype_float32, true, kFloatsOut);
  function.code = MakeCode(arch, panels, random);
  if (!panels.empty()) function.weights = Segment(panels);
  Put(&function.tail, uint32_t{0});  // no notes
  Put(&function.tail, uint32_t{0});  // one operator
  // No sizes that a call decides: none of them, nor rows, extents and operands that follow from
  // one.
  for (int table = 0; table < 4; ++table) Put(&function.tail, uint32_t{0});
  ProgramParts parts;
  parts.head = Head(arch);
  parts.functions.push_back(std::move(function));
  return Seal(Join(parts));
}

}  // namespace microscopiq
