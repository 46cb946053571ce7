// The TVM runtime module around the simulator; with counter.cc the only file that names tvm_ffi.
#include <tvm/ffi/cast.h>
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/map.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/extra/c_env_api.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>
#include <tvm/ffi/reflection/registry.h>

#include <iterator>
#include <new>
#include <optional>

#include "errors.h"
#include "kernels/kernel.h"
#include "program/listing.h"
#include "recon/plan.h"
#include "recon/route.h"
#include "recon/traffic.h"
#include "simulator.h"
#include "weights/panel.h"

namespace microscopiq {
namespace {

namespace ffi = tvm::ffi;

// Runs `body`; errors of the core get the kind that Python registered the class for.
template <typename Body>
auto Translate(Body body) {
  const char* kind = kSimError;
  std::string message;
  try {
    return body();
  } catch (const Error& error) {
    kind = error.kind();
    message = error.message();
  } catch (const Interrupted&) {
    throw ffi::EnvErrorAlreadySet();
  } catch (const std::bad_alloc&) {
    message = "out of memory on the host";
  }
  throw ffi::Error(kind, message, TVMFFIBacktrace(__FILE__, __LINE__, __func__, 0));
}

std::string Describe(DLDataType dtype, const int64_t* shape, int64_t ndim) {
  std::ostringstream out;
  out << ffi::DLDataTypeToString(dtype) << '[';
  for (int64_t i = 0; i < ndim; ++i) out << (i ? ", " : "") << shape[i];
  out << ']';
  return out.str();
}

DLDataType TypeOf(const Argument& argument) {
  const uint8_t bits = static_cast<uint8_t>(8 * kDtypeBytes[argument.dtype]);
  switch (argument.dtype) {
    case kDtype_float32:
      return {kDLFloat, bits, 1};
    case kDtype_bool:
      return {kDLBool, bits, 1};
    case kDtype_uint8:
      return {kDLUInt, bits, 1};
    default:
      return {kDLInt, bits, 1};
  }
}

bool IsContiguous(const DLTensor& tensor) {
  if (!tensor.strides) return true;
  int64_t expected = 1;
  for (int i = tensor.ndim - 1; i >= 0; --i) {
    if (tensor.shape[i] != 1 && tensor.strides[i] != expected) return false;
    expected *= tensor.shape[i];
  }
  return true;
}

Tensor CheckTensor(const Function& function, size_t index, const DLTensor& given) {
  const Argument& argument = function.arguments[index];
  const DLDataType dtype = TypeOf(argument);
  auto fail = [&](const auto&... parts) {
    Fail(kInputError, "function '", function.name, "', argument ", index, " '", argument.name,
         "': ", parts...);
  };
  const int64_t ndim = static_cast<int64_t>(argument.shape.size());
  if (given.dtype.code != dtype.code || given.dtype.bits != dtype.bits || given.dtype.lanes != 1 ||
      given.ndim != ndim || !std::equal(given.shape, given.shape + ndim, argument.shape.begin())) {
    fail("expected ", Describe(dtype, argument.shape.data(), ndim), ", given ",
         Describe(given.dtype, given.shape, given.ndim));
  }
  if (given.device.device_type != kDLCPU) {
    fail("expected a tensor in host memory, given device type ", int{given.device.device_type});
  }
  if (argument.bytes > 0 && !IsContiguous(given)) fail("expected a contiguous tensor");
  return {static_cast<uint8_t*>(given.data) + given.byte_offset, argument.bytes,
          argument.is_output};
}

// The sizes of a call; each argument that tells one must have its rank.
std::vector<int64_t> SizesOf(const Function& function, const std::vector<const DLTensor*>& given) {
  if (function.sizes.empty()) return {};
  std::vector<const int64_t*> shapes;
  for (size_t i = 0; i < given.size(); ++i) {
    const size_t ndim = function.arguments[i].shape.size();
    if (given[i]->ndim != static_cast<int>(ndim)) {
      Fail(kInputError, "function '", function.name, "', argument ", i, " '",
           function.arguments[i].name, "': expected ", ndim, " dimensions, given ",
           Describe(given[i]->dtype, given[i]->shape, given[i]->ndim));
    }
    shapes.push_back(given[i]->shape);
  }
  try {
    return SolveSizes(function.sizes, shapes);
  } catch (const Error& error) {
    Fail(error.kind(), "function '", function.name, "', ", error.message());
  }
}

// Whether a signal came and its handler in Python raised: Ctrl-C, mostly.
bool SignalRaised() { return TVMFFIEnvCheckSignals() != 0; }

class ProgramModule : public ffi::ModuleObj {
 public:
  explicit ProgramModule(const ffi::Bytes& blob)
      : blob_(blob),
        simulator_(reinterpret_cast<const uint8_t*>(blob_.data()), blob_.size(), SignalRaised) {}

  const char* kind() const final { return "microscopiq"; }
  int GetPropertyMask() const final {
    return ffi::Module::kBinarySerializable | ffi::Module::kRunnable;
  }
  ffi::Bytes SaveToBytes() const final { return blob_; }

  ffi::String InspectSource(const ffi::String& format) const final {
    if (format == "asm") return Assembly();
    std::string text =
        "microscopiq program for " + program().arch_name + " (" + program().arch_hash + ")\n";
    for (const auto& [name, function] : program().functions) {
      text += name + ": " + std::to_string(function.code.size()) + " instructions, " +
              std::to_string(function.weights.length) + " weight bytes\n";
    }
    return text;
  }

  ffi::Optional<ffi::Function> GetFunction(const ffi::String& name) final {
    // Every function holds the module: it may outlive the caller's handle.
    ffi::Module self = ffi::GetRef<ffi::Module>(this);
    const std::string key = name;
    if (key == "microscopiq.blob") {
      return ffi::Function::FromTyped([self, this]() { return blob_; });
    }
    if (key == "microscopiq.stats") {
      return ffi::Function::FromTyped([self, this]() { return ffi::String(simulator_.Stats()); });
    }
    if (key == "microscopiq.reset") {
      return ffi::Function::FromTyped([self, this]() { simulator_.Reset(); });
    }
    if (key == "microscopiq.set_trace") {
      return ffi::Function::FromTyped([self, this](bool on) { simulator_.SetTrace(on); });
    }
    if (key == "microscopiq.traces") {
      return ffi::Function::FromTyped([self, this]() { return Traces(); });
    }
    if (key == "microscopiq.time") {
      return ffi::Function::FromTyped([self, this](const ffi::String& name) {
        Translate([&] { simulator_.Time(simulator_.FunctionOf(name)); });
      });
    }
    if (key == "microscopiq.set_timing") {
      return ffi::Function::FromTyped([self, this](bool on) { simulator_.SetTiming(on); });
    }
    if (key == "microscopiq.set_observer") {
      return ffi::Function::FromTyped([self, this](ffi::Optional<ffi::Function> observer) {
        Simulator::Observer call;
        if (observer.has_value()) {
          call = [function = observer.value()](const std::string& name, size_t part) {
            function(ffi::String(name), static_cast<int64_t>(part));
          };
        }
        simulator_.SetObserver(std::move(call));
      });
    }
    if (key == "microscopiq.set_mode") {
      return ffi::Function::FromTyped(
          [self, this](const ffi::String& mode) { Translate([&] { simulator_.SetMode(mode); }); });
    }
    if (key == "microscopiq.set_stuck_switch") {
      return ffi::Function::FromTyped([self, this](int rank, int column, int command) {
        Translate([&] { simulator_.SetStuckSwitch(rank, column, command); });
      });
    }
    if (key == "microscopiq.set_debug") {
      return ffi::Function::FromTyped([self, this](ffi::Optional<bool> on) {
        simulator_.SetDebug(on.has_value() ? std::optional<bool>(*on) : std::nullopt);
      });
    }
    if (key == "microscopiq.set_budget") {
      return ffi::Function::FromTyped(
          [self, this](int64_t cycles, int64_t instructions, int64_t stepped_cycles) {
            Translate([&] { simulator_.SetBudget(cycles, instructions, stepped_cycles); });
          });
    }
    auto found = program().functions.find(key);
    if (found == program().functions.end()) return std::nullopt;
    const Function* function = &found->second;
    return ffi::Function::FromPacked([self, this, function](ffi::PackedArgs args, ffi::Any*) {
      Translate([&] { Run(*function, args); });
    });
  }

 private:
  const Program& program() const { return simulator_.program(); }

  std::string Assembly() const {
    std::string text;
    for (const auto& [name, function] : program().functions) {
      text += name + ":\n" + Listing(function);
    }
    return text;
  }

  void Run(const Function& function, ffi::PackedArgs args) {
    if (args.size() != static_cast<int>(function.arguments.size())) {
      Fail(kInputError, "function '", function.name, "' takes ", function.arguments.size(),
           " tensors, outputs last; given ", args.size());
    }
    if (function.weights.shape_only) {
      Fail(kInputError, "function '", function.name,
           "' has only the shapes of its weights; allowed: to time it (microscopiq.time)");
    }
    std::vector<const DLTensor*> given;
    for (int i = 0; i < args.size(); ++i) {
      auto tensor = args[i].try_cast<DLTensor*>();
      if (!tensor.has_value()) {
        Fail(kInputError, "function '", function.name, "', argument ", i, " '",
             function.arguments[i].name, "': expected a tensor, given ", args[i].GetTypeKey());
      }
      given.push_back(*tensor);
    }
    const std::shared_ptr<const Function> sized = simulator_.At(function, SizesOf(function, given));
    std::vector<Tensor> tensors;
    for (size_t i = 0; i < given.size(); ++i) tensors.push_back(CheckTensor(*sized, i, *given[i]));
    simulator_.Run(*sized, tensors);
  }

  // The spans of each call as they lie in memory; runtime/reports/trace.py knows their layout.
  ffi::Array<ffi::Bytes> Traces() {
    ffi::Array<ffi::Bytes> out;
    for (const std::vector<Span>& spans : simulator_.Traces()) {
      out.push_back(
          ffi::Bytes(reinterpret_cast<const char*>(spans.data()), spans.size() * sizeof(Span)));
    }
    return out;
  }

  const ffi::Bytes blob_;
  Simulator simulator_;  // points into `blob_`
};

ffi::Module Load(const ffi::Bytes& blob) {
  return Translate([&] { return ffi::Module(ffi::make_object<ProgramModule>(blob)); });
}

// Times a function of a saved program: one round trip for a tuner whose simulator is elsewhere.
ffi::String TimeProgram(const ffi::Bytes& blob, const ffi::String& name) {
  return Translate([&] {
    Simulator simulator(reinterpret_cast<const uint8_t*>(blob.data()), blob.size(), SignalRaised);
    const Function& function = simulator.FunctionOf(name);
    Machine machine(simulator.program().arch);
    Guard guard(SignalRaised);
    return ffi::String(machine.Time(function, nullptr, &guard).ToJson());
  });
}

ffi::Array<ffi::String> Variants() {
  ffi::Array<ffi::String> names;
  for (const std::string& name : KernelNames()) names.push_back(name);
  return names;
}

void SelectVariant(const ffi::String& name) {
  Translate([&] {
    if (!SelectKernels(name)) {
      Fail(kInputError, "kernel variant '", std::string(name), "' doesn't run on this CPU");
    }
  });
}

using Numbers = ffi::Array<int64_t>;

// (upper, lower, upper, lower, ...) of a micro-block to its commands by pass, rank and column.
ffi::Map<ffi::String, Numbers> SwitchCommands(const Numbers& columns) {
  std::vector<HalfPair> pairs;
  for (size_t i = 0; i + 1 < columns.size(); i += 2) {
    pairs.push_back({static_cast<int>(columns[i]), static_cast<int>(columns[i + 1])});
  }
  const BlockRoute route = Translate([&] { return RouteBlock(pairs); });
  Numbers commands, entering;
  for (int pass = 0; pass < route.passes; ++pass) {
    entering.push_back(route.entering[pass]);
    for (const auto& rank : route.commands[pass]) {
      for (SwitchCommand command : rank) commands.push_back(static_cast<int64_t>(command));
    }
  }
  return {{"commands", commands}, {"entering", entering}};
}

ReconPlan PlanOf(int rows, int cols, int strip_columns, int ranks, int units,
                 const Numbers& visits) {
  const ReconShape shape{rows, cols, strip_columns, ranks, units};
  StripRows strips(shape.strips());
  for (size_t i = 0; i + 2 < visits.size(); i += 3) {
    strips.at(visits[i]).push_back(
        {static_cast<int>(visits[i + 1]), static_cast<int>(visits[i + 2])});
  }
  return MakeReconPlan(shape, strips);
}

void Append(const ReconVisit& visit, Numbers* table) {
  for (int64_t value :
       {int64_t{visit.row}, int64_t{visit.pass}, visit.offset, int64_t{visit.waits}}) {
    table->push_back(value);
  }
}

// Matmuls one after the other, each (first possible start, m, rows of its plane) with a plan of
// its own unless it has no visits: what each one is granted.
ffi::Array<ffi::Map<ffi::String, Numbers>> Traffic(int array_rows, int strip_columns, int ranks,
                                                   int units, int strips, bool may_wait,
                                                   const ffi::Array<Numbers>& matmuls) {
  ReconTraffic traffic(array_rows, strips, may_wait);
  ffi::Array<ffi::Map<ffi::String, Numbers>> out;
  for (const Numbers& matmul : matmuls) {
    const Numbers visits(matmul.begin() + 3, matmul.end());
    const int rows = static_cast<int>(matmul[2]);
    const ReconPlan plan =
        PlanOf(rows, strips * strip_columns, strip_columns, ranks, units, visits);
    const ReconPlan* planned = plan.visits ? &plan : nullptr;
    const int64_t start = traffic.EarliestStart(matmul[0], planned, rows, matmul[1], nullptr);
    std::vector<std::vector<ReconVisit>> granted;
    const ReconGrant grant =
        traffic.Reserve(start, planned, rows, matmul[1], nullptr, {&granted, nullptr});
    Numbers table;
    for (size_t strip = 0; strip < granted.size(); ++strip) {
      for (const ReconVisit& visit : granted[strip]) {
        table.push_back(static_cast<int64_t>(strip));
        Append(visit, &table);
      }
    }
    out.push_back(
        {{"times",
          {start, plan.cadence.period, plan.cadence.rows, grant.latency, grant.delay, grant.depth}},
         {"visits", table}});
  }
  return out;
}

// The plan for (strip, row, passes, strip, row, passes, ...), rows ascending in each strip.
ffi::Map<ffi::String, Numbers> Plan(int rows, int cols, int strip_columns, int ranks, int units,
                                    const Numbers& visits) {
  const ReconPlan plan = PlanOf(rows, cols, strip_columns, ranks, units, visits);
  Numbers table;
  for (const auto& strip : plan.strips) {
    for (const ReconVisit& visit : strip) Append(visit, &table);
  }
  return {{"totals",
           {plan.cadence.period, plan.cadence.rows, plan.latency, plan.visits, plan.second_passes}},
          {"visits", table}};
}

// A format that the header lacks: its name, numbers in the order of the header, and the integers of
// its codes. For formats under development, which then need no build.
void NewFormat(const ffi::String& name, const Numbers& n, const Numbers& values) {
  Translate([&] {
    constexpr size_t kNumbers = 14;
    const int bits = n.size() == kNumbers ? static_cast<int>(n[3]) : 0;
    if (values.size() != size_t{1} << bits || n[0] > 4 || n[1] > 3) {
      Fail(kConfigError, "weight format '", std::string(name), "': ", n.size(), " numbers and ",
           values.size(), " integers; allowed: ", kNumbers, " and one for each code");
    }
    std::vector<int8_t> integers(values.begin(), values.end());
    auto number = [&](int i) { return static_cast<int>(n[i]); };
    AddFormat({name.c_str(), static_cast<Codes>(n[0]), static_cast<ScaleKind>(n[1]), number(2),
               bits, number(4), number(5), number(6), number(7), number(8), number(9), number(10),
               number(11), n[12] != 0, n[13] != 0, integers.data()});
  });
}

// A function of the vector unit over arrays: its inputs, the output last, all of one length.
void ApplyFunction(ffi::PackedArgs args, ffi::Any*) {
  struct Row {
    const char* name;
    int inputs;
    const char* input;
    const char* output;
  };
#define MICROSCOPIQ_ROW(symbol, name, inputs, input, output) {name, inputs, input, output},
  static constexpr Row kRows[] = {MICROSCOPIQ_FUNCTIONS(MICROSCOPIQ_ROW)};
#undef MICROSCOPIQ_ROW
  const std::string name = args[0].cast<ffi::String>();
  size_t index = 0;
  while (index < std::size(kRows) && kRows[index].name != name) ++index;
  if (index == std::size(kRows)) {
    Fail(kInputError, "no function of the vector unit is called '", name, "'");
  }
  const Row& row = kRows[index];
  if (args.size() != row.inputs + 2) {
    Fail(kInputError, "function '", name, "' takes ", row.inputs, " inputs and an output; given ",
         args.size() - 1, " tensors");
  }
  std::vector<uint8_t*> data;
  int64_t count = 0;
  for (int i = 0; i <= row.inputs; ++i) {
    const DLTensor& tensor = *args[i + 1].cast<DLTensor*>();
    const std::string given = Describe(tensor.dtype, tensor.shape, tensor.ndim);
    if (i == 0 && tensor.ndim == 1) count = tensor.shape[0];
    const std::string type = i < row.inputs ? row.input : row.output;
    const std::string expected = type + '[' + std::to_string(count) + ']';
    if (given != expected || tensor.device.device_type != kDLCPU || !IsContiguous(tensor)) {
      Fail(kInputError, "function '", name, "', tensor ", i, ": expected contiguous ", expected,
           " in host memory, given ", given);
    }
    data.push_back(static_cast<uint8_t*>(tensor.data) + tensor.byte_offset);
  }
  ActiveKernels().functions[index](data[0], data[row.inputs - 1], count, data[row.inputs]);
}

// Returns what it was, for those who set it back.
bool SetDebug(bool on) { return debug_default.exchange(on); }

TVM_FFI_STATIC_INIT_BLOCK() {
  tvm::ffi::reflection::GlobalDef()
      .def("microscopiq.runtime.create", Load)
      .def("microscopiq.runtime.time_program", TimeProgram)
      .def("microscopiq.runtime.kernels", Variants)
      .def("microscopiq.runtime.select_kernels", SelectVariant)
      .def("microscopiq.runtime.switch_commands", SwitchCommands)
      .def("microscopiq.runtime.recon_plan", Plan)
      .def("microscopiq.runtime.recon_traffic", Traffic)
      .def("microscopiq.runtime.add_format", NewFormat)
      .def_packed("microscopiq.runtime.apply_function",
                  [](ffi::PackedArgs args, ffi::Any* result) {
                    Translate([&] { ApplyFunction(args, result); });
                  })
      .def("microscopiq.runtime.set_debug", SetDebug)
      .def("ffi.Module.load_from_bytes.microscopiq", Load);
}

}  // namespace
}  // namespace microscopiq
