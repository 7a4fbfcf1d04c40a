/** The published browser bundle of node-socketio-stream, as far as the page uses it. */
declare module '@sap_oss/node-socketio-stream/node-socketio-stream.js' {
  import type { Socket } from 'socket.io-client';

  interface IncomingStream {
    on(event: 'data', listener: (chunk: Uint8Array) => void): this;
    on(event: 'end', listener: () => void): this;
    on(event: 'error', listener: (error: Error) => void): this;
  }

  interface StreamSocket {
    on(event: string, listener: (stream: IncomingStream, info: unknown) => void): this;
  }

  export default function lookup(socket: Socket): StreamSocket;
}
