// The graph inside an ONNX file: operators of ours only, and finite weights that lie inside the file.
#pragma once

#include <string_view>

namespace gpsr {

// Looks at a GraphProto and all that is in it. Throws Error (refused) for weights outside the file or not finite, for
// operators that no GPSR network has, for an interface other than float32 NCHW `lr` -> `sr`; protobuf::Damaged.
void check_graph(std::string_view graph);

} // namespace gpsr
