// Functions of javascript.py, called from JavaScript:
//
//     modal deploy javascript.py
//     npm install modal@0.11.1
//     node call.mjs
import { ModalClient } from "modal";

const client = new ModalClient(); // reads MODAL_SERVER_URL, MODAL_TOKEN_ID and MODAL_TOKEN_SECRET

const square = await client.functions.fromName("calls-javascript", "square");
console.log("remote:", await square.remote([42]));

const call = await square.spawn([], { x: 9 });
console.log("spawn:", await call.get({ timeoutMs: 60_000 }));

const Greeter = await client.cls.fromName("calls-javascript", "Greeter");
const greeter = await Greeter.instance();
console.log("class:", await greeter.method("greet").remote(["Ada"]));

try {
  await square.remote([-1]);
} catch (error) {
  console.log("error:", error.message);
}
