// The saved form of a program; the same layout as target/isa/program.py.
#include "program/program.h"

#include <set>

#include "program/byte_reader.h"
#include "weights/panel.h"

namespace microscopiq {
namespace {

bool IsUtf8(const uint8_t* text, uint64_t length) {
  for (uint64_t i = 0; i < length;) {
    uint32_t c = text[i];
    int more = c < 0x80 ? 0 : c >= 0xC2 && c < 0xE0 ? 1 : (c >> 4) == 0xE ? 2 : c >= 0xF0 ? 3 : -1;
    if (more < 0 || c > 0xF4 || i + more >= length) return false;
    uint32_t code = more == 0 ? c : c & (0x3F >> more);
    for (int k = 1; k <= more; ++k) {
      if ((text[i + k] & 0xC0) != 0x80) return false;
      code = code << 6 | (text[i + k] & 0x3F);
    }
    if ((more == 2 && (code < 0x800 || (code >= 0xD800 && code < 0xE000))) ||
        (more == 3 && (code < 0x10000 || code > 0x10FFFF))) {
      return false;
    }
    i += more + 1;
  }
  return true;
}

ArchNumbers ReadArch(ByteReader* reader) {
  ArchNumbers arch;
  uint32_t count = reader->Number<uint32_t>();
  std::set<std::string> seen;
  for (uint32_t i = 0; i < count; ++i) {
    std::string name = reader->Text();
    int64_t value = reader->Number<int64_t>();
    bool known = false;
    VisitArch(&arch, [&](const char* key, int64_t* slot, int64_t, int64_t) {
      if (name == key) {
        *slot = value;
        known = true;
      }
    });
    if (!known || !seen.insert(name).second) {
      Fail(kIsaError, "architecture key '", name, "' is unknown or given twice");
    }
  }
  VisitArch(&arch, [&](const char* key, int64_t*, int64_t, int64_t) {
    if (!seen.count(key)) Fail(kIsaError, "program lacks the architecture key '", key, "'");
  });
  return arch;
}

// What would divide by nothing, or leave a span of a burst without a channel.
void CheckDram(const ArchNumbers& arch) {
  const auto whole = [](int64_t large, int64_t small) { return small > 0 && large % small == 0; };
  const bool possible = arch.dram_banks > 0 && arch.dram_queue > 0 && arch.dram_row_bytes > 0 &&
                        arch.dram_interleave_bytes > 0 && arch.dram_burst_cycles > 0 &&
                        whole(arch.dram_interleave_bytes, arch.dram_burst_bytes) &&
                        whole(arch.dram_row_bytes, arch.dram_interleave_bytes);
  if (!possible) {
    Fail(kIsaError, "architecture: dram_channels = ", arch.dram_channels, " with ", arch.dram_banks,
         " banks, rows of ", arch.dram_row_bytes, " bytes, ", arch.dram_interleave_bytes,
         " bytes a channel and bursts of ", arch.dram_burst_bytes, " in ", arch.dram_burst_cycles,
         " cycles, a queue of ", arch.dram_queue,
         "; allowed: numbers above 0, each of these sizes a multiple of the next");
  }
  const int64_t pause = arch.dram_refresh_cycles, every = arch.dram_refresh_interval_cycles;
  if (every && pause >= every) {
    Fail(kIsaError, "architecture: dram_refresh_cycles = ", pause, "; allowed: less than ", every,
         ", dram_refresh_interval_cycles");
  }
}

void CheckArch(ArchNumbers arch) {
  VisitArch(&arch, [](const char* key, const int64_t* value, int64_t low, int64_t high) {
    if (*value < low || *value > high) {
      Fail(kIsaError, "architecture: ", key, " = ", *value, "; allowed ", low, " to ", high);
    }
  });
  const int64_t segment = arch.recon_segment_columns;
  if (segment % kMicroBlock || (segment & (segment - 1))) {
    Fail(kIsaError, "architecture: recon_segment_columns = ", segment,
         "; allowed 0 and powers of two from ", kMicroBlock,
         ", because a micro-block's halves meet inside one segment");
  }
  if (arch.skew_columns != 1 && arch.skew_columns != kMicroBlock) {
    Fail(kIsaError, "architecture: skew_columns = ", arch.skew_columns, "; allowed 1 and ",
         kMicroBlock, ", the columns of a micro-block");
  }
  if (arch.replay_columns % kMicroBlock) {
    Fail(kIsaError, "architecture: replay_columns = ", arch.replay_columns,
         "; allowed 0 and multiples of ", kMicroBlock,
         ", because outliers of a micro-block share an exponent");
  }
  if (arch.weight_buses > arch.array_rows) {
    Fail(kIsaError, "architecture: weight_buses = ", arch.weight_buses,
         "; allowed: up to array_rows = ", arch.array_rows);
  }
  // A temporal PE counts magnitudes of 2 bits: any other weight would get wrong cycles.
  if (arch.dram_channels) CheckDram(arch);
  if (arch.pe_activation_bits != 8 &&
      (arch.pe_activation_bits != 4 || arch.pe_weight_bits != 4 || !arch.multi_precision ||
       arch.recon_units || arch.replay_columns)) {
    Fail(kIsaError, "architecture: pe_activation_bits = ", arch.pe_activation_bits,
         " with pe_weight_bits = ", arch.pe_weight_bits,
         ", multi_precision = ", arch.multi_precision, ", recon_units = ", arch.recon_units,
         ", replay_columns = ", arch.replay_columns, "; allowed: 8, or 4 with 4, 1, 0, 0");
  }
  if (arch.temporal_cycles && (arch.pe_weight_bits > kTemporalBits || arch.multi_precision ||
                               arch.recon_units || arch.replay_columns || arch.skew_columns > 1)) {
    Fail(kIsaError, "architecture: temporal_cycles = ", arch.temporal_cycles,
         " with pe_weight_bits = ", arch.pe_weight_bits,
         ", multi_precision = ", arch.multi_precision, ", recon_units = ", arch.recon_units,
         ", replay_columns = ", arch.replay_columns, "; allowed: up to ", kTemporalBits,
         ", 0, 0, 0");
  }
}

// Sets the bytes of an argument from its shape.
void SetBytes(Argument* arg) {
  arg->bytes = kDtypeBytes[arg->dtype];
  for (size_t i = 0; i < arg->shape.size(); ++i) {
    const int64_t extent = arg->shape[i];
    if (extent < 0 || __builtin_mul_overflow(arg->bytes, extent, &arg->bytes) ||
        arg->bytes > int64_t{1} << 48) {
      Fail(kIsaError, "argument '", arg->name, "': dimension ", i, " = ", extent,
           "; allowed: at least 0 and 2^48 bytes in all");
    }
  }
}

Argument ReadArgument(ByteReader* reader) {
  Argument arg;
  arg.name = reader->Text();
  arg.dtype = reader->Number<uint8_t>();
  uint8_t is_output = reader->Number<uint8_t>();
  uint32_t ndim = reader->Number<uint32_t>();
  constexpr int kDtypes = sizeof(kDtypeBytes) / sizeof(kDtypeBytes[0]);
  if (arg.dtype == 0 || arg.dtype >= kDtypes || is_output > 1 || ndim > 8) {
    Fail(kIsaError, "argument '", arg.name, "': dtype code ", int{arg.dtype}, ", output flag ",
         int{is_output}, ", ", ndim, " dimensions");
  }
  arg.is_output = is_output;
  for (uint32_t i = 0; i < ndim; ++i) arg.shape.push_back(reader->Number<int64_t>());
  SetBytes(&arg);
  return arg;
}

// Checks `count` + 1 offsets of what follows one another up to the segment's end.
void CheckOffsets(ByteReader* reader, uint64_t count, uint64_t first, uint64_t length) {
  uint64_t previous = first;
  for (uint64_t i = 0; i <= count; ++i) {
    uint32_t offset = reader->Number<uint32_t>();
    if (offset < previous || offset > length) {
      Fail(kIsaError, "weight segment: offset ", i, " = ", offset, "; allowed ", previous, " to ",
           length);
    }
    if (i == 0 && offset != first) {
      Fail(kIsaError, "weight segment: the first panel starts at ", offset, "; allowed: ", first);
    }
    previous = offset;
  }
  if (previous != length) {
    Fail(kIsaError, "weight segment: the last panel ends at ", previous, "; allowed: ", length);
  }
}

WeightSegment CheckWeights(const uint8_t* data, uint64_t length) {
  WeightSegment weights;
  weights.data = data;
  weights.length = length;
  if (length == 0) return weights;
  ByteReader reader(data, length);
  const uint32_t count = reader.Number<uint32_t>();
  weights.shape_only = count & kShapeOnly;
  weights.panels = count & ~kShapeOnly;
  const uint64_t kinds = weights.shape_only ? reader.Number<uint32_t>() : weights.panels;
  const uint64_t numbers = weights.shape_only ? 2 * uint64_t{weights.panels} : 0;
  const uint64_t directory = reader.position() + 4 * (kinds + 1) + numbers;
  if (directory > length) {
    Fail(kIsaError, "weight segment of ", length, " bytes: a directory of ", weights.panels,
         " panels needs ", directory);
  }
  weights.offsets = data + reader.position();
  CheckOffsets(&reader, kinds, directory, length);
  weights.templates = data + reader.position();
  for (uint64_t panel = 0; weights.shape_only && panel < weights.panels; ++panel) {
    const uint16_t number = reader.Number<uint16_t>();
    if (number >= kinds) {
      Fail(kIsaError, "weight segment: panel ", panel, " is like template ", number,
           "; the segment has ", kinds);
    }
  }
  for (uint64_t kind = 0; kind < kinds; ++kind) {
    uint32_t range[2];
    std::memcpy(range, weights.offsets + 4 * kind, sizeof(range));
    CheckPanel(static_cast<int64_t>(kind), data + range[0], int64_t{range[1]} - range[0]);
  }
  return weights;
}

// Parts start outside of loops, the first of them where the code does.
void ReadParts(ByteReader* reader, Function* function) {
  const uint32_t count = reader->Number<uint32_t>();
  uint32_t wanted = 0, depth = 0, index = 0;
  for (uint32_t i = 0; i < count; ++i) {
    Part part;
    part.name = reader->Text();
    part.layer = reader->Text();
    part.macs = reader->Number<uint64_t>();
    part.first = reader->Number<uint32_t>();
    if (part.first < wanted || (i == 0 && part.first > 0) || part.first >= function->code.size()) {
      Fail(kIsaError, "part ", i, " starts at instruction ", part.first,
           "; allowed: 0 of the first, then ", wanted, " to ",
           static_cast<int64_t>(function->code.size()) - 1);
    }
    for (; index < part.first; ++index) {
      const Operation& operation = function->code[index].operation;
      depth += std::holds_alternative<Loop>(operation);
      depth -= std::holds_alternative<EndLoop>(operation);
    }
    if (depth > 0) {
      Fail(kIsaError, "part ", i, " starts at instruction ", part.first,
           ", inside a loop; allowed: outside of loops");
    }
    wanted = part.first + 1;
    function->parts.push_back(std::move(part));
  }
}

Function ReadFunction(ByteReader* reader) {
  Function function;
  function.name = reader->Text();
  function.layer = reader->Text();
  function.macs = reader->Number<uint64_t>();
  uint32_t arguments = reader->Number<uint32_t>();
  for (uint32_t i = 0; i < arguments; ++i) {
    function.arguments.push_back(ReadArgument(reader));
    if (i > 0 && function.arguments[i - 1].is_output && !function.arguments[i].is_output) {
      Fail(kIsaError, "argument '", function.arguments[i].name, "': an input after an output");
    }
  }
  function.length = reader->Number<uint64_t>();
  function.bytes = reader->Raw(function.length);
  function.code = DecodeCode(function.bytes, function.length, function.arguments.size());
  uint64_t weight_bytes = reader->Number<uint64_t>();
  function.weights = CheckWeights(reader->Raw(weight_bytes), weight_bytes);
  uint32_t notes = reader->Number<uint32_t>();
  int64_t last = -1;
  for (uint32_t i = 0; i < notes; ++i) {
    const int64_t index = reader->Number<uint32_t>();
    if (index <= last || index >= static_cast<int64_t>(function.code.size())) {
      Fail(kIsaError, "note for instruction ", index, "; allowed: ", last + 1, " to ",
           static_cast<int64_t>(function.code.size()) - 1, ", in ascending order");
    }
    last = index;
    reader->Text();
  }
  ReadParts(reader, &function);
  function.sizes = ReadSizes(reader, function.arguments);
  if (!function.sizes.empty() || !function.sizes.operands.empty()) {
    std::vector<int64_t> largest;
    for (const Size& size : function.sizes.sizes) largest.push_back(size.most);
    DecodeCode(function.bytes, function.length, function.arguments.size(), &function.sizes,
               function.sizes.At(largest), true);
  }
  return function;
}

}  // namespace

uint32_t Crc32(const uint8_t* data, uint64_t length) {
  // Eight tables, eight bytes a step: weights make programs of many megabytes.
  static const auto tables = [] {
    std::array<std::array<uint32_t, 256>, 8> t{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t c = i;
      for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ (c & 1 ? 0xEDB88320u : 0u);
      t[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; ++i) {
      for (int k = 1; k < 8; ++k) t[k][i] = (t[k - 1][i] >> 8) ^ t[0][t[k - 1][i] & 255];
    }
    return t;
  }();
  uint32_t crc = ~0u;
  for (; length >= 8; length -= 8, data += 8) {
    uint32_t low, high;
    std::memcpy(&low, data, 4);
    std::memcpy(&high, data + 4, 4);
    low ^= crc;
    crc = tables[7][low & 255] ^ tables[6][low >> 8 & 255] ^ tables[5][low >> 16 & 255] ^
          tables[4][low >> 24] ^ tables[3][high & 255] ^ tables[2][high >> 8 & 255] ^
          tables[1][high >> 16 & 255] ^ tables[0][high >> 24];
  }
  for (; length > 0; --length, ++data) crc = tables[0][(crc ^ *data) & 255] ^ (crc >> 8);
  return ~crc;
}

Function AtSizes(const Function& function, const std::vector<int64_t>& sizes) {
  const std::vector<int64_t> values = function.sizes.At(sizes);
  Function found = function;
  for (const SizedExtent& extent : function.sizes.extents) {
    found.arguments[extent.argument].shape[extent.dimension] = values[extent.value];
  }
  for (Argument& argument : found.arguments) SetBytes(&argument);
  found.code = DecodeCode(function.bytes, function.length, function.arguments.size(),
                          &function.sizes, values);
  found.sizes = {};
  return found;
}

PanelBytes WeightSegment::panel(int64_t number) const {
  if (shape_only) {
    uint16_t kind;
    std::memcpy(&kind, templates + 2 * number, sizeof(kind));
    number = kind;
  }
  uint32_t range[2];
  std::memcpy(range, offsets + 4 * number, sizeof(range));
  return {data + range[0], int64_t{range[1]} - range[0]};
}

std::string ByteReader::Text() {
  uint32_t count = Number<uint32_t>();
  const uint8_t* text = Raw(count);
  if (!IsUtf8(text, count)) Fail(kIsaError, "corrupted program: text isn't UTF-8");
  return std::string(reinterpret_cast<const char*>(text), count);
}

Program ParseProgram(const uint8_t* blob, uint64_t length) {
  constexpr uint64_t kHead = kMagic.size() + 4 + 4 + 8;
  if (length < kHead || std::memcmp(blob, kMagic.data(), kMagic.size()) != 0) {
    Fail(kIsaError, "not a microscopiq program: the first bytes aren't 'MSCOPIQ'");
  }
  ByteReader head(blob + kMagic.size(), kHead - kMagic.size());
  uint32_t version = head.Number<uint32_t>();
  uint32_t checksum = head.Number<uint32_t>();
  uint64_t payload = head.Number<uint64_t>();
  if (version != kProgramVersion) {
    Fail(kIsaError, "program version ", version, "; this build reads version ", kProgramVersion);
  }
  if (payload != length - kHead || Crc32(blob + kHead, payload) != checksum) {
    Fail(kIsaError, "corrupted program: the checksum doesn't match");
  }
  ByteReader reader(blob + kHead, payload);
  Program program;
  program.arch_name = reader.Text();
  program.arch_hash = reader.Text();
  reader.Text();  // the technology: areas and energies are of no use here
  program.arch = ReadArch(&reader);
  CheckArch(program.arch);
  uint32_t functions = reader.Number<uint32_t>();
  for (uint32_t i = 0; i < functions; ++i) {
    Function function;
    try {
      function = ReadFunction(&reader);
    } catch (const Error& error) {
      Fail(error.kind(), "function ", i, ": ", error.message());
    }
    std::string name = function.name;
    if (name.rfind("microscopiq.", 0) == 0) {
      Fail(kIsaError, "function name '", name, "': names from 'microscopiq.' on are reserved");
    }
    if (!program.functions.emplace(name, std::move(function)).second) {
      Fail(kIsaError, "two functions are named '", name, "'");
    }
  }
  if (reader.left()) Fail(kIsaError, reader.left(), " bytes after the program's end");
  return program;
}

}  // namespace microscopiq
