// The graph inside an ONNX file, field by field (onnx.proto3).
#include "onnx_graph.hpp"

#include "error.hpp"
#include "protobuf.hpp"
#include "text.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <string>
#include <vector>

namespace gpsr {

namespace {

using protobuf::Damaged;
using protobuf::Field;
using protobuf::Reader;
using protobuf::Wire;

constexpr std::uint64_t float32 = 1, float16 = 10, float64 = 11; // TensorProto.DataType
constexpr std::uint64_t graph_kind = 5, graphs_kind = 10;        // AttributeProto.AttributeType

// What the export writes, and what optimisers and quantisers make of that: no control flow, nothing that reads files,
// and nothing that makes large tensors of small ones.
constexpr std::array<std::string_view, 23> operators{
    "Abs",  "Add",      "Cast",      "Clip",    "Concat", "Constant", "Conv", "DepthToSpace", "DequantizeLinear",
    "Div",  "Identity", "LeakyRelu", "MaxPool", "Mul",    "Neg",      "Pad",  "Pow",          "QuantizeLinear",
    "Relu", "Sigmoid",  "Slice",     "Sqrt",    "Sub"};

// Whether a little-endian float of `size` bytes is finite: its exponent is not all ones.
bool finite(const char* bytes, std::size_t size) {
    const auto high = static_cast<unsigned char>(bytes[size - 1]), low = static_cast<unsigned char>(bytes[size - 2]);
    const unsigned top = static_cast<unsigned>(high & 0x7FU) << 8U | low;
    const unsigned exponent = size == 2 ? 0x7C00U : size == 4 ? 0x7F80U : 0x7FF0U;
    return (top & exponent) != exponent;
}

bool finite_floats(std::string_view bytes, std::size_t size) {
    if (bytes.size() % size != 0) {
        throw Damaged{};
    }
    for (std::size_t place = 0; place < bytes.size(); place += size) {
        if (!finite(bytes.data() + place, size)) {
            return false;
        }
    }
    return true;
}

// Of a message that stands there twice readers make one, which would not be what was looked at here.
void once(bool& seen) {
    if (seen) {
        throw Damaged{};
    }
    seen = true;
}

std::string quoted(std::string_view name) { return "'" + std::string(name) + "'"; }

void check_tensor(std::string_view tensor) {
    std::uint64_t type = 0;
    std::string_view name, raw;
    std::vector<std::uint64_t> halves;
    bool outside = false, sane = true;
    Field field;
    for (Reader reader(tensor); reader.next(field);) {
        if (field.is(2, Wire::varint)) {
            type = field.value;
        } else if (field.number == 4) { // float_data, packed or not
            sane = sane && finite_floats(field.bytes, 4);
        } else if (field.number == 5 && field.wire == Wire::bytes) { // int32_data, which holds halves too
            for (Reader numbers(field.bytes); !numbers.done();) {
                halves.push_back(numbers.varint());
            }
        } else if (field.is(5, Wire::varint)) {
            halves.push_back(field.value);
        } else if (field.is(8, Wire::bytes)) {
            name = field.bytes;
        } else if (field.is(9, Wire::bytes)) {
            raw = field.bytes;
        } else if (field.number == 10) { // double_data
            sane = sane && finite_floats(field.bytes, 8);
        } else if (field.is(13, Wire::bytes)) { // external_data
            outside = true;
        } else if (field.is(14, Wire::varint)) { // data_location
            outside = outside || field.value != 0;
        }
    }
    if (outside) {
        throw refused("the weights " + quoted(name) + " lie outside the file", "all weights inside the model",
                      "save the model with its weights inline");
    }
    if (type == float32 || type == float16 || type == float64) {
        sane = sane && finite_floats(raw, type == float32 ? 4 : type == float16 ? 2 : 8);
    }
    if (type == float16) {
        sane =
            sane && std::none_of(halves.begin(), halves.end(), [](auto half) { return (half & 0x7C00U) == 0x7C00U; });
    }
    if (!sane) {
        throw refused("the weights " + quoted(name) + " hold NaN or infinity", "finite weights",
                      "export it again with export/to_onnx.py");
    }
}

void check_sparse(std::string_view sparse) {
    bool values = false, indices = false;
    Field field;
    for (Reader reader(sparse); reader.next(field);) {
        if (field.is(1, Wire::bytes) || field.is(2, Wire::bytes)) {
            once(field.number == 1 ? values : indices);
            check_tensor(field.bytes);
        }
    }
}

void check_attribute(std::string_view attribute) {
    bool one_tensor = false, one_sparse = false;
    Field field;
    for (Reader reader(attribute); reader.next(field);) {
        if (field.is(5, Wire::bytes) || field.is(10, Wire::bytes)) { // t, tensors
            if (field.number == 5) {
                once(one_tensor);
            }
            check_tensor(field.bytes);
        } else if (field.is(22, Wire::bytes) || field.is(23, Wire::bytes)) { // sparse_tensor, sparse_tensors
            if (field.number == 22) {
                once(one_sparse);
            }
            check_sparse(field.bytes);
        } else if (field.is(6, Wire::bytes) || field.is(11, Wire::bytes) ||
                   (field.is(20, Wire::varint) && (field.value == graph_kind || field.value == graphs_kind))) {
            throw refused("an operator holds a graph of its own", "the operators of a GPSR network, which hold none");
        }
    }
}

void check_node(std::string_view node) {
    std::string_view type, domain;
    Field field;
    for (Reader reader(node); reader.next(field);) {
        if (field.is(4, Wire::bytes)) {
            type = field.bytes;
        } else if (field.is(5, Wire::bytes)) {
            check_attribute(field.bytes);
        } else if (field.is(7, Wire::bytes)) {
            domain = field.bytes;
        }
    }
    if (!domain.empty() && domain != "ai.onnx") {
        throw refused("operator " + quoted(type) + " of domain " + quoted(domain), "standard operators");
    }
    if (std::find(operators.begin(), operators.end(), type) == operators.end()) {
        throw refused("operator " + quoted(type),
                      "those of a GPSR network: " + joined({operators.begin(), operators.end()}));
    }
}

// An input or output of the graph.
struct Port {
    std::string name;
    std::uint64_t type = 0;
    std::vector<std::uint64_t> sizes; // 0: any
};

std::vector<std::uint64_t> sizes_of(std::string_view shape) {
    std::vector<std::uint64_t> sizes;
    Field field;
    for (Reader reader(shape); reader.next(field);) {
        if (field.is(1, Wire::bytes)) { // dim
            sizes.push_back(0);
            Field inner;
            for (Reader dim(field.bytes); dim.next(inner);) {
                if (inner.is(1, Wire::varint)) { // dim_value
                    sizes.back() = inner.value;
                }
            }
        }
    }
    return sizes;
}

Port port_of(std::string_view info) {
    Port port;
    std::string_view type, tensor;
    bool one_type = false, one_tensor = false, one_shape = false;
    Field field;
    for (Reader reader(info); reader.next(field);) {
        if (field.is(1, Wire::bytes)) {
            port.name = field.bytes;
        } else if (field.is(2, Wire::bytes)) {
            once(one_type);
            type = field.bytes;
        }
    }
    for (Reader reader(type); reader.next(field);) {
        if (field.is(1, Wire::bytes)) { // tensor_type; whatever else it is leaves the port without a type
            once(one_tensor);
            tensor = field.bytes;
        }
    }
    for (Reader reader(tensor); reader.next(field);) {
        if (field.is(1, Wire::varint)) {
            port.type = field.value;
        } else if (field.is(2, Wire::bytes)) {
            once(one_shape);
            port.sizes = sizes_of(field.bytes);
        }
    }
    return port;
}

std::string name_of(std::string_view tensor) {
    std::string name;
    Field field;
    for (Reader reader(tensor); reader.next(field);) {
        if (field.is(8, Wire::bytes)) {
            name = field.bytes;
        }
    }
    return name;
}

void check_ports(const std::vector<Port>& inputs, const std::vector<Port>& outputs,
                 const std::set<std::string>& weights) {
    std::vector<std::string> names;
    std::vector<Port> found;
    for (const auto* ports : {&inputs, &outputs}) {
        for (const Port& port : *ports) {
            if (weights.count(port.name) == 0) {
                names.push_back(port.name);
                found.push_back(port);
            }
        }
    }
    const std::vector<std::uint64_t> any_rgb{0, 3, 0, 0};
    const auto fits = [&](const Port& port, const char* name) {
        return port.name == name && port.type == float32 && port.sizes == any_rgb;
    };
    if (found.size() != 2 || !fits(found[0], "lr") || !fits(found[1], "sr")) {
        throw refused("inputs and outputs are " + joined(names), "float32 NCHW, 'lr' in and 'sr' out");
    }
}

} // namespace

void check_graph(std::string_view graph) {
    std::vector<Port> inputs, outputs;
    std::set<std::string> weights;
    bool nodes = false;
    Field field;
    for (Reader reader(graph); reader.next(field);) {
        if (field.is(1, Wire::bytes)) {
            nodes = true;
            check_node(field.bytes);
        } else if (field.is(5, Wire::bytes)) { // initializer
            check_tensor(field.bytes);
            weights.insert(name_of(field.bytes));
        } else if (field.is(11, Wire::bytes)) {
            inputs.push_back(port_of(field.bytes));
        } else if (field.is(12, Wire::bytes)) {
            outputs.push_back(port_of(field.bytes));
        } else if (field.is(15, Wire::bytes)) { // sparse_initializer
            check_sparse(field.bytes);
        }
    }
    if (!nodes) {
        throw refused("the file holds no graph", "a model that export/to_onnx.py wrote");
    }
    check_ports(inputs, outputs, weights);
}

} // namespace gpsr
