/** Bytes of a protobuf message, as far as an ONNX model needs the format. */
class Message {
  private readonly parts: Uint8Array[] = [];

  private push(bytes: Uint8Array): this {
    this.parts.push(bytes);
    return this;
  }

  private varint(value: number): this {
    const bytes: number[] = [];
    let rest = BigInt.asUintN(64, BigInt(value));
    do {
      const low = Number(rest & 127n);
      rest >>= 7n;
      bytes.push(rest > 0n ? low | 128 : low);
    } while (rest > 0n);
    return this.push(Uint8Array.from(bytes));
  }

  int(field: number, value: number): this {
    return this.varint(field << 3).varint(value);
  }

  float(field: number, value: number): this {
    return this.varint((field << 3) | 5).push(new Uint8Array(Float32Array.of(value).buffer));
  }

  bytes(field: number, bytes: Uint8Array): this {
    return this.varint((field << 3) | 2)
      .varint(bytes.length)
      .push(bytes);
  }

  text(field: number, text: string): this {
    return this.bytes(field, new TextEncoder().encode(text));
  }

  message(field: number, message: Message): this {
    return this.bytes(field, message.encoded());
  }

  encoded(): Uint8Array {
    const all = new Uint8Array(this.parts.reduce((n, part) => n + part.length, 0));
    let at = 0;
    for (const part of this.parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }
}

const DATA_TYPE = { float32: 1, int32: 6, int64: 7 } as const;
export type OnnxType = keyof typeof DATA_TYPE;
type Data = Float32Array | Int32Array | BigInt64Array;
/** Plain numbers are integers. */
type Attribute = number | readonly number[] | string | { float: number } | Graph;

function typeOf(data: Data): OnnxType {
  return data instanceof Float32Array ? 'float32' : data instanceof Int32Array ? 'int32' : 'int64';
}

function valueInfo(name: string, type: OnnxType, dims?: readonly number[]): Message {
  const tensor = new Message().int(1, DATA_TYPE[type]);
  if (dims !== undefined) {
    const shape = new Message();
    for (const size of dims) shape.message(1, new Message().int(1, size));
    tensor.message(2, shape);
  }
  return new Message().text(1, name).message(2, new Message().message(1, tensor));
}

function attributeProto(name: string, value: Attribute): Message {
  const message = new Message().text(1, name);
  if (typeof value === 'number') return message.int(3, value).int(20, 2);
  if (typeof value === 'string') return message.text(4, value).int(20, 3);
  if (value instanceof Graph) return message.message(6, value.proto()).int(20, 5);
  if ('float' in value) return message.float(2, value.float).int(20, 1);
  for (const item of value) message.int(8, item);
  return message.int(20, 7);
}

/** An ONNX graph under construction: every method adds something and returns its name. */
export class Graph {
  private readonly nodes: Message[] = [];
  private readonly initializers: Message[] = [];
  private readonly inputs: Message[] = [];
  private readonly outputs: Message[] = [];

  input(name: string, dims: readonly number[], type: OnnxType = 'float32'): string {
    this.inputs.push(valueInfo(name, type, dims));
    return name;
  }

  output(name: string, dims?: readonly number[], type: OnnxType = 'float32'): string {
    this.outputs.push(valueInfo(name, type, dims));
    return name;
  }

  constant(name: string, data: Data, dims: readonly number[]): string {
    const tensor = new Message();
    for (const size of dims) tensor.int(1, size);
    tensor.int(2, DATA_TYPE[typeOf(data)]).text(8, name);
    this.initializers.push(tensor.bytes(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)));
    return name;
  }

  integers(name: string, values: readonly number[], dims: readonly number[] = [values.length]): string {
    return this.constant(name, BigInt64Array.from(values, BigInt), dims);
  }

  /** A node of the ONNX operator set, or of onnxruntime's own with `domain: 'com.microsoft'`. */
  node(
    op: string,
    inputs: readonly string[],
    options: {
      domain?: string;
      attributes?: Readonly<Record<string, Attribute>>;
      outputs?: readonly string[];
    } = {},
  ): string {
    const { domain, attributes = {}, outputs = [`t${this.nodes.length}`] } = options;
    const message = new Message();
    for (const input of inputs) message.text(1, input);
    for (const output of outputs) message.text(2, output);
    message.text(3, `n${this.nodes.length}`).text(4, op);
    for (const [name, value] of Object.entries(attributes)) message.message(5, attributeProto(name, value));
    if (domain !== undefined) message.text(7, domain);
    this.nodes.push(message);
    return outputs[0];
  }

  /** GraphProto */
  proto(): Message {
    const graph = new Message();
    for (const node of this.nodes) graph.message(1, node);
    graph.text(2, 'graph');
    for (const initializer of this.initializers) graph.message(5, initializer);
    for (const input of this.inputs) graph.message(11, input);
    for (const output of this.outputs) graph.message(12, output);
    return graph;
  }

  /** A serialised ModelProto. */
  model(opset = 23): Uint8Array {
    const operators = (domain: string, version: number) => new Message().text(1, domain).int(2, version);
    return new Message()
      .int(1, 10)
      .text(2, 'linnet-bench')
      .message(7, this.proto())
      .message(8, operators('', opset))
      .message(8, operators('com.microsoft', 1))
      .encoded();
  }
}
