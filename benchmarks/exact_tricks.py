"""What folding batch norm and merging factors that meet are worth: a compressed MobileNetV2 in several engines."""

from __future__ import annotations

import copy

import torch
from timing import parser, print_table, use_threads

from rank_search.deploy.engines import make_engine, time_in_turn
from rank_search.deploy.export.folding import fold_batch_norm
from rank_search.deploy.export.merging import merge_factors
from rank_search.space import Budget, RankSpace, compress
from rank_search.task import load_model


def main() -> None:
    command = parser(__doc__)
    command.add_argument("--model", default="torchvision:mobilenet_v2", help="with random weights")
    command.add_argument("--macs", type=float, default=0.5)
    command.add_argument("--engines", nargs="*", default=["eager", "onnxruntime"])
    arguments = command.parse_args()
    use_threads(arguments.threads)
    torch.manual_seed(0)
    model, inputs = load_model(arguments.model).eval(), torch.randn(1, 3, 224, 224)
    space = RankSpace.from_model(model, inputs, ["svd", "tucker2", "svd_spatial"])
    solution = space.minimise(space.relative_errors(), Budget(macs=arguments.macs))
    small = compress(model, space.plan(solution.indices)).eval()
    folded, folding = fold_batch_norm(small, inputs)
    merged = copy.deepcopy(folded)
    gone = merge_factors(merged, inputs)
    networks = {"dense": model, "compressed": small, "folded": folded, "folded, merged": merged}
    rows = []
    for name in arguments.engines:
        engine = make_engine({name: {"threads": arguments.threads}})
        times = [timing.least * 1e3 for timing in time_in_turn([engine.prepare(n, inputs) for n in networks.values()])]
        rows += [
            [name, kind, f"{time:.2f}", f"{time / times[0]:.3f}"] for kind, time in zip(networks, times, strict=True)
        ]
    print_table(["engine", "network", "ms", "of dense"], rows)
    print(f"{len(folding.folded)} batch norms folded, {len(gone)} factors merged; macs {arguments.macs}; batch 1.")


if __name__ == "__main__":
    main()
