// Counts what a virtual machine calls, beside the runtime module the only file that names tvm_ffi.
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/function.h>
#include <tvm/ffi/reflection/registry.h>

#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace microscopiq {
namespace {

namespace ffi = tvm::ffi;

using Names = ffi::Array<ffi::String>;

constexpr int kGoOn = 0;  // what the virtual machine does after an instrument said so

// Bytes of a tensor, or of those in a list.
int64_t BytesOf(const ffi::AnyView& value) {
  if (auto tensor = value.try_cast<DLTensor*>()) {
    int64_t count = 1;
    for (int i = 0; i < (*tensor)->ndim; ++i) count *= (*tensor)->shape[i];
    return count * (((*tensor)->dtype.bits * (*tensor)->dtype.lanes + 7) / 8);
  }
  int64_t bytes = 0;
  if (auto list = value.as<ffi::ArrayObj>()) {
    for (const ffi::Any& each : *list) bytes += BytesOf(each);
  }
  return bytes;
}

// What ran on the host, by name, and how often work went from one side to the other.
class CallCounter {
 public:
  CallCounter(const Names& machine, const Names& views)
      : machine_(machine.begin(), machine.end()), views_(views.begin(), views.end()) {}

  void Note(const std::string& name, const ffi::PackedArgs& args) {
    if (machine_.count(name)) return Switch(true);
    constexpr const char* kBuiltin = "vm.builtin.";
    constexpr const char* kDynamic = "vm.builtin.call_tir_dyn";
    if ((name.rfind(kBuiltin, 0) == 0 && name != kDynamic) || views_.count(name)) return;
    Switch(false);
    Row& row = rows_[name];
    ++row.calls;
    for (int i = kFirstArgument; i < args.size(); ++i) row.bytes += BytesOf(args[i]);
  }

  // (name, calls, bytes) of each, and the number of switches last; then all is forgotten.
  ffi::Array<ffi::Any> Take() {
    Switch(false);
    ffi::Array<ffi::Any> out;
    for (const auto& [name, row] : rows_) {
      out.push_back(ffi::Array<ffi::Any>{ffi::String(name), row.calls, row.bytes});
    }
    out.push_back(std::exchange(switches_, 0));
    rows_.clear();
    return out;
  }

  static constexpr int kFirstArgument = 4;  // behind function, name, when, and result

 private:
  struct Row {
    int64_t calls = 0;
    int64_t bytes = 0;
  };

  void Switch(bool to_machine) {
    switches_ += to_machine != on_machine_;
    on_machine_ = to_machine;
  }

  const std::unordered_set<std::string> machine_;
  const std::unordered_set<std::string> views_;
  std::unordered_map<std::string, Row> rows_;
  bool on_machine_ = false;
  int64_t switches_ = 0;
};

// Returns an instrument of a virtual machine, and the function that takes what it counted.
ffi::Array<ffi::Function> Counter(const Names& machine, const Names& views) {
  auto counter = std::make_shared<CallCounter>(machine, views);
  auto note = [counter](ffi::PackedArgs args, ffi::Any* result) {
    *result = kGoOn;
    // Functions of the model call others, which are counted themselves.
    const bool before = args[2].cast<bool>();
    if (!before || args[0].type_index() != ffi::TypeIndex::kTVMFFIFunction) return;
    counter->Note(args[1].cast<ffi::String>(), args);
  };
  return {ffi::Function::FromPacked(note),
          ffi::Function::FromTyped([counter]() { return counter->Take(); })};
}

TVM_FFI_STATIC_INIT_BLOCK() {
  tvm::ffi::reflection::GlobalDef().def("microscopiq.runtime.call_counter", Counter);
}

}  // namespace
}  // namespace microscopiq
